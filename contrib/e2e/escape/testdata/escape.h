#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* A place to reach: one port on both loopback addresses. */
struct target {
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	int port;
};

extern struct target allowed, denied;

/* Something a jail must not get, other than packets at a receiver. */
void leak(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something to know about a run. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Asks the test, which is outside, to do something, and waits until it has. */
void ask(const char *what);

/* Set where the targets are at the end of a cable, and nobody answers. */
extern int on_wire;

struct target target(const char *port);
/* Connects to a local socket. */
int dial(const char *path);
/* Sends to an address with a control message that must not get out. */
void with_control(int s, const void *name, socklen_t len, int level, int type, const void *data, size_t n);
void with_text(int s, const void *name, socklen_t len, int level, int type, const void *data, size_t n, char *text);

int udp(int family);
int tcp(int family);
void send_to(int fd, const void *addr, socklen_t len);
/* Connects, says that it is a trick, and closes. */
void connect_to(int fd, const void *addr, socklen_t len);
void plain(void);

#define SA(a) &(a), sizeof(a)

/* Each does one thing against a target. */
typedef void trick(const struct target *);

trick a1_address, a2_descriptor, a3_family, a4_header, a5_mmsg, a6_tables, a7_fault, a8_number, a9_path, a10_reuse;
trick b1_unspec, b2_v4_on_v6, b3_mapped, b4_any, b5_names, b6_scope, b7_lengths, b8_upper_words, b9_slots, b10_unreadable,
	b11_again, b12_explicit, b13_routing_header, b13_wire, b14_source_route, b14_wire, b15_source, b16_groups, b16_igmp, b16_mld, b16_send,
	b17_listen, b18_port_zero, b19_addrform, b20_flow_label;
trick c1_int80, c2_x32, c3_ring, c4_inherited_ring, c5_ring_thread, c5_siblings, c6_fastopen, c7_fastopen_connect, c8_mptcp,
	c9_sctp, c10_families, c11_vsock, c12_alg, c13_netlink, c14_raw, c15_ping, c16_tunnel, c17_namespaces, c19_keys, c20_hooks;
trick d1_stdin, d2_rights_in, d2_rights_out, d3_pidfd, d4_memory, d5_signals, d8_brokers, d8_renamed, d9_linked, d11_tiocsti,
	d13_setuid, d14_borrow;
trick e1_orphan, e2_nested, e3_filters, e4_listener, e5_tracer, e6_nonsense, e7_wedge, e8_flood, e9_control, e9_renamed,
	e10_forged, e11_hop, e12_ids, e13_deputy, e13_rights, e14_credentials, e15_sockets, e16_numbers, e17_early, e18_revoked, e18_hidden, e19_again, f1_dumpable;

void ring_parent(char **argv);
void ring_keeper(char **argv);
void inside(char **argv);
trick again;
void victim(void);
