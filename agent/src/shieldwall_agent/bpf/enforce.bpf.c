// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Refuses connections with listed addresses and queries for listed names, for all processes of a cgroup.
 *
 * Only stable context structures are used, so one object serves every kernel from 5.17 (bpf_loop) on.
 * A rule's `expires` is in nanoseconds since boot, so it ends on time without anybody's help.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define DNS_PORT 53
#define LONGEST_NAME 255
#define MOST_RULES 131072

enum action { ALLOW = 0, AUDIT = 1, DENY = 2 };
enum kind { CONNECTION = 1, NAME = 2 };

struct rule {
	__u64 expires;
	__u32 id;
	__u32 action;
};

struct address6 {
	__u32 words[4];
};

struct suffix {
	__u64 first, second;
};

struct event {
	__u32 kind, rule, pid, port;
	__u32 address[4]; /* IPv4 in the last word, before it 0, 0, ffff */
	__u8 name[256];   /* as on the wire, in lower case */
};

/* The state of the loops lives here and not on the stack: kernels before 6.7 check a callback as if it ran once. */
struct walk {
	__u8 name[256];
	__u8 starts[256];
	__u64 first, second;
	__u32 left, end;
	struct rule found;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_RULES);
	__type(key, __u32);
	__type(value, struct rule);
} addresses4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_RULES);
	__type(key, struct address6);
	__type(value, struct rule);
} addresses6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_RULES);
	__type(key, struct suffix);
	__type(value, struct rule);
} domains SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* socket cookie */
	__type(value, __u32);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

static bool applies(const struct rule *rule)
{
	return rule && rule->action != ALLOW && (!rule->expires || bpf_ktime_get_boot_ns() < rule->expires);
}

static struct event *new_event(__u32 kind, const struct rule *rule, __u32 pid, __u32 port)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__u32 zero = 0;
		__u64 *count = bpf_map_lookup_elem(&lost, &zero);
		if (count)
			__sync_fetch_and_add(count, 1);
		return 0;
	}
	event->kind = kind;
	event->rule = rule->id;
	event->pid = pid;
	event->port = port;
	return event;
}

static int decide(struct bpf_sock_addr *ctx, struct rule *rule, const __u32 *address)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u32 port = bpf_ntohs((__u16)ctx->user_port);
	if (port == DNS_PORT) {
		__u64 cookie = bpf_get_socket_cookie(ctx);
		bpf_map_update_elem(&owners, &cookie, &pid, BPF_ANY);
	}
	if (!applies(rule))
		return 1;
	struct event *event = new_event(CONNECTION, rule, pid, port);
	if (event) {
		__builtin_memcpy(event->address, address, sizeof(event->address));
		bpf_ringbuf_submit(event, 0);
	}
	return rule->action != DENY;
}

static int decide4(struct bpf_sock_addr *ctx)
{
	__u32 key = ctx->user_ip4;
	__u32 address[4] = {0, 0, bpf_htonl(0xffff), key};
	return decide(ctx, bpf_map_lookup_elem(&addresses4, &key), address);
}

static int decide6(struct bpf_sock_addr *ctx)
{
	struct address6 key = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	struct rule *rule;
	if (!key.words[0] && !key.words[1] && key.words[2] == bpf_htonl(0xffff))
		rule = bpf_map_lookup_elem(&addresses4, &key.words[3]);
	else
		rule = bpf_map_lookup_elem(&addresses6, &key);
	return decide(ctx, rule, key.words);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return decide4(ctx);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return decide4(ctx);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return decide6(ctx);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return decide6(ctx);
}

/* Lower case, and where each label begins. */
static long scan(__u32 index, void *unused)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);
	if (!walk)
		return 1;
	__u8 byte = walk->name[index & 255];
	if (!walk->left) {
		if (!byte) {
			walk->end = index;
			return 1;
		}
		if (byte > 63)
			return 1;
		walk->starts[index & 255] = 1;
		walk->left = byte;
		return 0;
	}
	if (byte >= 'A' && byte <= 'Z')
		walk->name[index & 255] = byte + 32;
	walk->left--;
	return 0;
}

/* Hash from the end of the name; look up at each label, so that the longest listed suffix is found last. */
static long match(__u32 index, void *unused)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);
	if (!walk || index >= walk->end)
		return 1;
	__u32 place = (walk->end - 1 - index) & 255;
	__u8 byte = walk->name[place];
	walk->first = (walk->first ^ byte) * 0x100000001b3ULL;
	walk->second = (walk->second + byte) * 0x9e3779b97f4a7c15ULL;
	walk->second ^= walk->second >> 29;
	if (walk->starts[place]) {
		struct suffix key = {walk->first, walk->second};
		struct rule *rule = bpf_map_lookup_elem(&domains, &key);
		if (rule && (!rule->expires || bpf_ktime_get_boot_ns() < rule->expires))
			walk->found = *rule;
	}
	return 0;
}

static int query(struct __sk_buff *skb, __u32 offset)
{
	__u8 header[12];
	__u32 zero = 0;
	if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return 1;
	if (header[2] & 0x80 || !(header[4] | header[5]))
		return 1; /* an answer, or without question */
	offset += sizeof(header);
	if (skb->len <= offset)
		return 1;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);
	if (!walk)
		return 1;
	__u32 length = skb->len - offset;
	if (length > LONGEST_NAME)
		length = LONGEST_NAME;
	__builtin_memset(walk, 0, sizeof(*walk));
	asm volatile("" : "+r"(length)); /* keep the bound where the verifier sees it */
	if (length < 1 || length > LONGEST_NAME || bpf_skb_load_bytes(skb, offset, walk->name, length))
		return 1;
	bpf_loop(LONGEST_NAME, scan, 0, 0);
	if (!walk->end)
		return 1;
	walk->first = 0xcbf29ce484222325ULL;
	bpf_loop(LONGEST_NAME, match, 0, 0);
	if (walk->found.action == ALLOW)
		return 1;
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u32 *owner = bpf_map_lookup_elem(&owners, &cookie);
	struct event *event = new_event(NAME, &walk->found, owner ? *owner : 0, DNS_PORT);
	if (event) {
		__builtin_memset(event->address, 0, sizeof(event->address));
		__builtin_memcpy(event->name, walk->name, sizeof(event->name));
		bpf_ringbuf_submit(event, 0);
	}
	return walk->found.action != DENY;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	__u8 first, protocol;
	__u32 transport;
	struct rule *rule;
	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return 1;
	if (first >> 4 == 4) {
		__u32 destination;
		__u16 fragment;
		if (bpf_skb_load_bytes(skb, 16, &destination, 4) || bpf_skb_load_bytes(skb, 9, &protocol, 1) ||
		    bpf_skb_load_bytes(skb, 6, &fragment, 2))
			return 1;
		rule = bpf_map_lookup_elem(&addresses4, &destination);
		if (applies(rule) && rule->action == DENY)
			return 0; /* a connection from before the rule, or a raw socket */
		if (fragment & bpf_htons(0x1fff))
			return 1;
		transport = (first & 15) * 4;
	} else if (first >> 4 == 6) {
		struct address6 destination;
		if (bpf_skb_load_bytes(skb, 24, &destination, 16) || bpf_skb_load_bytes(skb, 6, &protocol, 1))
			return 1;
		rule = bpf_map_lookup_elem(&addresses6, &destination);
		if (applies(rule) && rule->action == DENY)
			return 0;
		transport = 40;
	} else {
		return 1;
	}
	__u16 port;
	if (protocol != IPPROTO_UDP || bpf_skb_load_bytes(skb, transport + 2, &port, 2) || port != bpf_htons(DNS_PORT))
		return 1;
	return query(skb, transport + 8);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
