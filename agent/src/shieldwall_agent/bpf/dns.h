// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// DNS over UDP and TCP: what sockets send to port 53, and what those sockets get from there. Part of
// sensors.bpf.c. The cgroup's hooks are where a payload can be read wherever it lies in memory, where each
// packet belongs to a socket, and where forwarded packets do not come by.

#define DNS_MAX 1232

struct dns_event {
	struct header header;
	__u64 socket; // its cookie
	__u32 sequence; // of TCP
	__u32 length; // of the payload; `size` of it is here
	__u16 family;
	__u16 size;
	__u8 protocol;
	__u8 received;
	__u16 unused;
	__u8 server[16];
	__u8 payload[DNS_MAX];
};

// Who asked, by the cookie of the socket: an answer comes in a soft interrupt, where current is anybody.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct owner);
} asking SEC(".maps");

struct place {
	__u32 address; // of the server's address
	__u32 transport;
	__u32 payload;
	__u32 sequence;
	__u16 family;
	__u8 protocol;
};

// Whether a packet surely has another port, told by the bytes at hand: true for nearly all there are.
static __always_inline bool is_other(struct __sk_buff *packet, bool received)
{
	__u8 *bytes = (void *)(long)packet->data, *end = (void *)(long)packet->data_end;

	if (bytes + 44 > end)
		return false;
	if (bytes[0] == 0x45)
		return *(__be16 *)(bytes + (received ? 20 : 22)) != bpf_htons(DNS_PORT);
	return bytes[0] >> 4 == 6 && *(__be16 *)(bytes + (received ? 40 : 42)) != bpf_htons(DNS_PORT);
}

// Where the parts of a packet to (or from) port 53 are; false for any other packet.
static __always_inline bool find(struct __sk_buff *packet, bool received, struct place *place)
{
	__u8 first, size;
	__u16 fragment, port;

	if (bpf_skb_load_bytes(packet, 0, &first, 1))
		return false;
	if (first >> 4 == 4) {
		if (bpf_skb_load_bytes(packet, 9, &place->protocol, 1) || bpf_skb_load_bytes(packet, 6, &fragment, 2))
			return false;
		if (fragment & bpf_htons(0x1fff))
			return false; // not the first of its fragments, so without ports
		place->family = AF_INET;
		place->address = received ? 12 : 16;
		place->transport = (first & 15) * 4;
	} else if (first >> 4 == 6) {
		if (bpf_skb_load_bytes(packet, 6, &place->protocol, 1))
			return false;
		place->family = AF_INET6;
		place->address = received ? 8 : 24;
		place->transport = 40;
	} else {
		return false;
	}
	if (place->protocol != IPPROTO_UDP && place->protocol != IPPROTO_TCP)
		return false;
	if (bpf_skb_load_bytes(packet, place->transport + (received ? 0 : 2), &port, 2) || port != bpf_htons(DNS_PORT))
		return false;
	if (place->protocol == IPPROTO_UDP) {
		place->payload = place->transport + 8;
		return true;
	}
	if (bpf_skb_load_bytes(packet, place->transport + 4, &place->sequence, 4) ||
	    bpf_skb_load_bytes(packet, place->transport + 12, &size, 1))
		return false;
	place->sequence = bpf_ntohl(place->sequence);
	place->payload = place->transport + (size >> 4) * 4;
	return true;
}

// Who sends: for TCP whoever connected, since what waits for an acknowledgement is sent by anybody.
static __always_inline void fill_sender(struct owner *owner, struct __sk_buff *packet, const struct place *place)
{
	__u64 socket = (__u64)packet->sk;
	struct owner *known = place->protocol == IPPROTO_TCP ? bpf_map_lookup_elem(&connecting, &socket) : NULL;

	if (known)
		*owner = *known;
	else
		fill_owner(owner, (struct task_struct *)bpf_get_current_task());
}

static __always_inline int on_dns(struct __sk_buff *packet, bool received)
{
	struct place place = {};
	struct owner owner = {}, *known;
	struct dns_event *event;
	__u32 last; // byte of the payload

	if (is_other(packet, received) || !find(packet, received, &place) || packet->len <= place.payload)
		return 1;

	__u64 cookie = bpf_get_socket_cookie(packet);

	if (received) {
		known = bpf_map_lookup_elem(&asking, &cookie);
		if (!known)
			return 1; // nobody asked
		owner = *known;
	} else {
		fill_sender(&owner, packet, &place);
		bpf_map_update_elem(&asking, &cookie, &owner, BPF_ANY);
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_drop();
		return 1;
	}
	fill_header(&event->header, DNS, &owner);
	event->socket = cookie;
	event->sequence = place.sequence;
	event->family = place.family;
	event->protocol = place.protocol;
	event->received = received;
	event->unused = 0;
	__builtin_memset(event->server, 0, sizeof(event->server));
	if (place.family == AF_INET)
		bpf_skb_load_bytes(packet, place.address, event->server, 4);
	else
		bpf_skb_load_bytes(packet, place.address, event->server, 16);
	last = packet->len - place.payload - 1;
	event->length = last + 1;
	asm volatile("" : "+r"(last)); // keep the bounds where the verifier sees them; that of 6.1 learns no lower one
	if (last >= DNS_MAX)
		last = DNS_MAX - 1;
	event->size = last + 1;
	if (bpf_skb_load_bytes(packet, place.payload, event->payload, last + 1)) {
		bpf_ringbuf_discard(event, 0);
		return 1;
	}
	bpf_ringbuf_submit(event, wake());
	return 1;
}

SEC("cgroup_skb/egress")
int on_sent(struct __sk_buff *packet)
{
	return on_dns(packet, false);
}

SEC("cgroup_skb/ingress")
int on_received(struct __sk_buff *packet)
{
	return on_dns(packet, true);
}
