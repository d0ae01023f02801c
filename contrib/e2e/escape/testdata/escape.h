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

int udp(int family);
int tcp(int family);
void send_to(int fd, const void *addr, socklen_t len);
/* Connects, says that it is a trick, and closes. */
void connect_to(int fd, const void *addr, socklen_t len);
void plain(void);

#define SA(a) &(a), sizeof(a)

/* Each does one thing against a target. */
typedef void trick(const struct target *);

trick a5_mmsg, b1_unspec, b2_v4_on_v6, b3_mapped, b4_any, b8_upper_words, b11_again, b12_explicit,
	b13_routing_header, b14_source_route, b16_groups, b17_listen,
	b18_port_zero, b19_addrform, b20_flow_label;
trick c1_int80, c2_x32, c3_ring, c4_inherited_ring, c5_ring_thread, c6_fastopen, c8_mptcp, c9_sctp, c11_vsock, c12_alg,
	c13_netlink, c14_raw, c17_namespaces, c19_keys;
trick d1_stdin, d2_rights_in, d2_rights_out, d3_pidfd, d4_memory, d5_signals, d8_brokers, d8_renamed, d11_tiocsti;
trick a6_tables, a7_fault, e1_orphan, e2_nested, e9_control, e10_renamed, f1_dumpable;

void ring_parent(char **argv);
void ring_keeper(char **argv);
void victim(void);
