// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Refuses to execute, or to map as code, files whose hash is listed. IMA makes the hash, in the kernel, of the
 * very file: nobody is asked, so nobody can keep an execution waiting.
 *
 * IMA hashes the whole file each time, so its answers are kept. An answer is kept for good only when it was given
 * while nobody could write and after the state it belongs to was already seen a while ago: the time of a change
 * ticks in milliseconds, and of two changes within one tick the second does not show. Opening for writing drops it.
 *
 * Everything fails open: no hash, no refusal.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1
#define EFBIG 27
#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20
#define FMODE_WRITE 2
#define TMPFS 0x01021994
#define OVERLAY 0x794c7630
#define BTRFS 0x9123683e
#define FUSE 0x65735546
#define SETTLED_NS 50000000ULL
#define LARGEST (1LL << 30) /* hashing cannot be interrupted, and nobody lists larger programs */
#define MOST_RULES 131072
#define MOST_FILES 16384

enum action { ALLOW = 0, AUDIT = 1, DENY = 2 };

struct digest {
	__u8 bytes[32]; /* SHA-1 ends in zeros */
};

struct rule {
	__u64 expires; /* ns since boot, 0 for never */
	__u32 id;
	__u32 action;
};

struct place {
	__u64 inode;
	__u32 device, generation;
};

struct condition {
	__u64 seconds, nanoseconds, size; /* of the last change */
};

struct answer {
	struct condition state;
	__u64 seen; /* when this state was first met */
	__u32 algorithm, settled;
	struct digest digest;
};

struct event {
	__u64 inode, size;
	__u32 device, pid, action, algorithm;
	struct digest digest;
	/* The process that wants the file: refused, it may be gone before anybody can look. */
	__u64 start;
	__u32 parent, uid, command_size, unused;
	char name[16];
	char command[1024]; /* its arguments, each ended by a zero */
	char path[1024];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_RULES);
	__type(key, struct digest);
	__type(value, struct rule);
} hashes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MOST_FILES);
	__type(key, struct place);
	__type(value, struct answer);
} answers SEC(".maps");

/* Nothing is hashed while there are no rules. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} active SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* Files too large, or that IMA did not hash or not with an algorithm that can be listed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} unhashed SEC(".maps");

/* The time of the last change moved twice, in 6.6 and in 6.11. */
struct inode___before_6_6 {
	struct timespec64 i_ctime;
} __attribute__((preserve_access_index));

struct inode___before_6_11 {
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

struct inode___now {
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
} __attribute__((preserve_access_index));

static __always_inline void read_state(struct inode *inode, struct condition *state)
{
	struct inode___now *now = (void *)inode;
	struct inode___before_6_11 *before = (void *)inode;
	struct inode___before_6_6 *old = (void *)inode;

	state->size = BPF_CORE_READ(inode, i_size);
	if (bpf_core_field_exists(now->i_ctime_nsec)) {
		state->seconds = BPF_CORE_READ(now, i_ctime_sec);
		/* The top bit says only that somebody has looked. */
		state->nanoseconds = BPF_CORE_READ(now, i_ctime_nsec) & 0x7fffffff;
	} else if (bpf_core_field_exists(before->__i_ctime)) {
		state->seconds = BPF_CORE_READ(before, __i_ctime.tv_sec);
		state->nanoseconds = BPF_CORE_READ(before, __i_ctime.tv_nsec);
	} else {
		state->seconds = BPF_CORE_READ(old, i_ctime.tv_sec);
		state->nanoseconds = BPF_CORE_READ(old, i_ctime.tv_nsec);
	}
}

static __always_inline void read_place(struct inode *inode, struct place *place)
{
	place->inode = BPF_CORE_READ(inode, i_ino);
	place->device = BPF_CORE_READ(inode, i_sb, s_dev);
	place->generation = BPF_CORE_READ(inode, i_generation);
}

/* Whether all changes pass this kernel, so that an answer can be kept. */
static __always_inline bool local(struct inode *inode)
{
	unsigned long magic = BPF_CORE_READ(inode, i_sb, s_magic);

	if (magic == FUSE)
		return false;
	return magic == TMPFS || magic == OVERLAY || magic == BTRFS || BPF_CORE_READ(inode, i_sb, s_bdev);
}

static __always_inline bool has_writers(struct inode *inode)
{
	return (int)BPF_CORE_READ(inode, i_writecount.counter) > 0;
}

static __always_inline void count(void *map)
{
	__u32 zero = 0;
	__u64 *number = bpf_map_lookup_elem(map, &zero);

	if (number)
		__sync_fetch_and_add(number, 1);
}

/* The file's hash into `digest`; the algorithm, or less than 0. */
static __always_inline int hash(struct file *file, struct inode *inode, struct place *place, struct digest *digest)
{
	struct answer fresh = {};
	struct answer *kept = bpf_map_lookup_elem(&answers, place);
	bool same;
	long algorithm;

	read_state(inode, &fresh.state);
	same = kept && kept->state.seconds == fresh.state.seconds &&
	       kept->state.nanoseconds == fresh.state.nanoseconds && kept->state.size == fresh.state.size;
	if (same && kept->settled && !has_writers(inode)) {
		*digest = kept->digest;
		return kept->algorithm;
	}
	fresh.seen = bpf_ktime_get_boot_ns();
	if (same) {
		fresh.settled = fresh.seen - kept->seen > SETTLED_NS;
		fresh.seen = kept->seen;
	}
	algorithm = bpf_ima_file_hash(file, &fresh.digest, sizeof(fresh.digest));
	if (algorithm < 0)
		return algorithm;
	*digest = fresh.digest;
	fresh.algorithm = algorithm;
	if (local(inode) && !has_writers(inode)) {
		bpf_map_update_elem(&answers, place, &fresh, BPF_ANY);
		if (has_writers(inode))
			bpf_map_delete_elem(&answers, place);
	}
	return algorithm;
}

static __always_inline void describe_process(struct event *event)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long size = BPF_CORE_READ(task, mm, arg_end) - start;

	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->parent = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = bpf_get_current_uid_gid();
	event->start = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_get_current_comm(event->name, sizeof(event->name));
	if (size > sizeof(event->command))
		size = sizeof(event->command);
	event->command_size = bpf_copy_from_user(event->command, size, (void *)start) ? 0 : size;
}

static __always_inline int judge(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct place place = {};
	struct digest digest = {};
	struct event *event;
	struct rule *rule;
	__u32 zero = 0, action;
	__u64 *rules = bpf_map_lookup_elem(&active, &zero);
	int algorithm;

	if (!rules || !*rules || !inode)
		return 0;
	read_place(inode, &place);
	algorithm = BPF_CORE_READ(inode, i_size) > LARGEST ? -EFBIG : hash(file, inode, &place, &digest);
	if (algorithm == HASH_ALGO_SHA1)
		__builtin_memset(digest.bytes + 20, 0, 12);
	else if (algorithm != HASH_ALGO_SHA256) {
		count(&unhashed);
		return 0;
	}
	rule = bpf_map_lookup_elem(&hashes, &digest);
	if (!rule || (rule->expires && rule->expires <= bpf_ktime_get_boot_ns()))
		return 0;
	action = rule->action;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		event->inode = place.inode;
		event->size = BPF_CORE_READ(inode, i_size);
		event->device = place.device;
		describe_process(event);
		event->action = action;
		event->algorithm = algorithm;
		event->digest = digest;
		if (bpf_d_path((struct path *)&file->f_path, event->path, sizeof(event->path)) < 0)
			event->path[0] = 0;
		bpf_ringbuf_submit(event, 0);
	} else {
		count(&lost);
	}
	return action == DENY ? -EPERM : 0;
}

SEC("lsm.s/bprm_check_security")
int BPF_PROG(on_exec, struct linux_binprm *bprm, int refused)
{
	return refused ? refused : judge(bprm->file);
}

/* Libraries, and programs that are started as `ld.so FILE`. */
SEC("lsm.s/mmap_file")
int BPF_PROG(on_map, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int refused)
{
	if (refused || !(prot & PROT_EXEC) || (flags & MAP_ANONYMOUS) || !file)
		return refused;
	return judge(file);
}

SEC("lsm/file_open")
int BPF_PROG(on_open, struct file *file, int refused)
{
	struct place place = {};

	if (!refused && (file->f_mode & FMODE_WRITE)) {
		read_place(file->f_inode, &place);
		bpf_map_delete_elem(&answers, &place);
	}
	return refused;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
