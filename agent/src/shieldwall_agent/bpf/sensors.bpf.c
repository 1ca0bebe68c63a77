// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// What happens on this machine, told to one ring buffer: executions, forks, exits, TCP states, DNS (dns.h), kernel modules.
// Raw tracepoints and cgroup hooks: they load where kprobes, fentry and LSM programs are refused, and cost
// nothing elsewhere.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define ARGV_MAX 8192
#define NAME_MAX_LEN 512
#define DNS_PORT 53
#define WAKE_BYTES (512 * 1024)

#define AF_INET 2
#define AF_INET6 10
#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_SYN_RECV 3
#define STATE_CLOSE 7
#define STATE_LISTEN 10

enum kind { EXEC = 1, FORK = 2, EXIT = 3, SOCKET = 4, DNS = 5, MODULE = 6 };

// Times are nanoseconds of the boot clock; a process is its pid and its start.
struct header {
	__u32 kind;
	__u32 pid;
	__u64 time;
	__u64 start;
	__u32 ppid;
	__u32 uid;
	__u64 parent_start;
};

struct exec_event {
	struct header header;
	__u64 inode;
	__u64 cgroup;
	__u32 device;
	__u32 loginuid;
	__u32 session;
	__u32 name_size;
	__u32 argv_size;
	__u32 argv_total;
	char comm[16];
	char data[NAME_MAX_LEN + ARGV_MAX];
};

struct exit_event {
	struct header header;
	__s32 code;
	__u32 unused;
};

struct socket_event {
	struct header header;
	__u16 family;
	__u16 old_state;
	__u16 new_state;
	__u16 local_port;
	__u16 remote_port;
	__u16 unused[3];
	__u8 local[16];
	__u8 remote[16];
	char comm[16];
};

struct module_event {
	struct header header;
	__u64 taints;
	__u32 loaded;
	__u32 unused;
	char name[64];
};

struct owner {
	__u64 start;
	__u64 parent_start;
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__u32 unused;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); // about ten thousand processes; resident while the agent runs
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_event);
} scratch SEC(".maps");

// Who opened a connecting socket, by the socket's address.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct owner);
} connecting SEC(".maps");

// Who listens on a port: an accepted connection is made in a soft interrupt, where current is anybody.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct owner);
} listening SEC(".maps");

static __always_inline void count_drop(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&dropped, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

// The reader looks at the ring at intervals; it is woken early only when much is waiting.
static __always_inline __u64 wake(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > WAKE_BYTES ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline void tell(void *event, __u64 size)
{
	if (bpf_ringbuf_output(&events, event, size, wake()))
		count_drop();
}

static __always_inline void fill_owner(struct owner *owner, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);

	owner->pid = BPF_CORE_READ(task, tgid);
	owner->start = BPF_CORE_READ(leader, start_boottime);
	owner->ppid = BPF_CORE_READ(parent, tgid);
	owner->parent_start = BPF_CORE_READ(parent, start_boottime);
	owner->uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_STR_INTO(&owner->comm, leader, comm);
}

static __always_inline void fill_header(struct header *header, enum kind kind, const struct owner *owner)
{
	header->kind = kind;
	header->time = bpf_ktime_get_boot_ns();
	header->pid = owner->pid;
	header->start = owner->start;
	header->ppid = owner->ppid;
	header->parent_start = owner->parent_start;
	header->uid = owner->uid;
}

SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *binary = (struct linux_binprm *)ctx->args[2];
	struct owner owner = {};
	__u32 zero = 0;
	struct exec_event *event = bpf_map_lookup_elem(&scratch, &zero);

	if (!event)
		return 0;
	fill_owner(&owner, task);
	fill_header(&event->header, EXEC, &owner);
	event->inode = BPF_CORE_READ(binary, file, f_inode, i_ino);
	event->device = BPF_CORE_READ(binary, file, f_inode, i_sb, s_dev);
	event->cgroup = bpf_get_current_cgroup_id();
	event->loginuid = bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1;
	event->session = bpf_core_field_exists(task->sessionid) ? BPF_CORE_READ(task, sessionid) : -1;
	__builtin_memcpy(event->comm, owner.comm, sizeof(event->comm));

	long name = bpf_probe_read_kernel_str(event->data, NAME_MAX_LEN, BPF_CORE_READ(binary, filename));
	__u32 name_size = name > 0 && name <= NAME_MAX_LEN ? name : 0;

	__u64 begin = BPF_CORE_READ(task, mm, arg_start);
	__u64 total = BPF_CORE_READ(task, mm, arg_end) - begin;
	__u32 size = total < ARGV_MAX ? total : ARGV_MAX - 1;

	event->name_size = name_size;
	event->argv_total = total;
	// The verifier wants to see both bounds at the place of use.
	name_size &= NAME_MAX_LEN * 2 - 1;
	if (name_size > NAME_MAX_LEN)
		return 0;
	size &= ARGV_MAX - 1;
	if (bpf_probe_read_user(event->data + name_size, size, (void *)begin))
		size = 0;
	event->argv_size = size;
	tell(event, offsetof(struct exec_event, data) + name_size + size);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	struct owner owner = {};
	struct header event = {};

	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0; // a thread
	fill_owner(&owner, child);
	fill_header(&event, FORK, &owner);
	tell(&event, sizeof(event));
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct owner owner = {};
	struct exit_event event = {};

	if (BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	fill_owner(&owner, task);
	fill_header(&event.header, EXIT, &owner);
	event.code = BPF_CORE_READ(task, exit_code);
	tell(&event, sizeof(event));
	return 0;
}

static __always_inline void fill_addresses(struct socket_event *event, const struct sock *sock)
{
	event->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	event->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	event->remote_port = bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport));
	if (event->family == AF_INET) {
		BPF_CORE_READ_INTO((__u32 *)event->local, sock, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)event->remote, sock, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)event->local, sock, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)event->remote, sock, __sk_common.skc_v6_daddr);
	}
}

SEC("raw_tp/inet_sock_set_state")
int on_socket_state(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sock *sock = (const struct sock *)ctx->args[0];
	int old_state = ctx->args[1], new_state = ctx->args[2];
	__u64 key = (__u64)sock;
	__u32 port = BPF_CORE_READ(sock, __sk_common.skc_num);
	struct owner current = {}, *known = NULL;
	struct socket_event event = {};

	if (BPF_CORE_READ(sock, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (new_state == STATE_SYN_SENT) {
		fill_owner(&current, (struct task_struct *)bpf_get_current_task());
		bpf_map_update_elem(&connecting, &key, &current, BPF_ANY);
		return 0;
	}
	if (new_state == STATE_LISTEN) {
		fill_owner(&current, (struct task_struct *)bpf_get_current_task());
		bpf_map_update_elem(&listening, &port, &current, BPF_ANY);
		known = &current;
	} else if (old_state == STATE_SYN_SENT) {
		known = bpf_map_lookup_elem(&connecting, &key);
	} else if (old_state == STATE_SYN_RECV && new_state == STATE_ESTABLISHED) {
		known = bpf_map_lookup_elem(&listening, &port);
	} else {
		return 0;
	}
	if (known)
		current = *known;
	fill_header(&event.header, SOCKET, &current);
	__builtin_memcpy(event.comm, current.comm, sizeof(event.comm));
	event.old_state = old_state;
	event.new_state = new_state;
	fill_addresses(&event, sock);
	// Whoever opened a connection for DNS is asked for at each packet (dns.h), so stays until pushed out.
	if (old_state == STATE_SYN_SENT && event.remote_port != DNS_PORT)
		bpf_map_delete_elem(&connecting, &key);
	tell(&event, sizeof(event));
	return 0;
}

#include "dns.h"

// Both run in the process that asked, insmod or modprobe.
static __always_inline int on_module(const struct module *module, bool loaded)
{
	struct owner owner = {};
	struct module_event event = {};

	fill_owner(&owner, (struct task_struct *)bpf_get_current_task());
	fill_header(&event.header, MODULE, &owner);
	event.loaded = loaded;
	event.taints = BPF_CORE_READ(module, taints);
	BPF_CORE_READ_STR_INTO(&event.name, module, name);
	tell(&event, sizeof(event));
	return 0;
}

SEC("raw_tp/module_load")
int on_module_load(struct bpf_raw_tracepoint_args *ctx)
{
	return on_module((const struct module *)ctx->args[0], true);
}

SEC("raw_tp/module_free")
int on_module_free(struct bpf_raw_tracepoint_args *ctx)
{
	return on_module((const struct module *)ctx->args[0], false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
