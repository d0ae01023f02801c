/* A5 and B: what an address says, and on which socket. */
#include "escape.h"
#include <ifaddrs.h>
#include <linux/ipv6.h>
#include <net/if.h>

void a5_mmsg(const struct target *to)
{
	struct sockaddr_in first = allowed.v4, other = to->v4;
	struct iovec data = { "trick", 5 };
	struct mmsghdr m[4] = {};
	for (int i = 0; i < 4; i++) {
		m[i].msg_hdr.msg_name = i == 0 || i == 3 ? &first : &other;
		m[i].msg_hdr.msg_namelen = sizeof first;
		m[i].msg_hdr.msg_iov = &data;
		m[i].msg_hdr.msg_iovlen = 1;
	}
	int s = udp(AF_INET);
	int sent = sendmmsg(s, m, 4, 0);
	if (sent >= 0)
		sendmmsg(s, m + sent, 4 - sent, 0);
	close(s);
}

void b1_unspec(const struct target *to)
{
	struct sockaddr_in unspec = to->v4;
	struct sockaddr_in6 unspec6 = to->v6;
	unspec.sin_family = AF_UNSPEC;
	unspec6.sin6_family = AF_UNSPEC;
	int s = udp(AF_INET);
	send_to(s, SA(unspec));
	struct iovec data = { "trick", 5 };
	struct msghdr m = { .msg_name = &unspec, .msg_namelen = sizeof unspec, .msg_iov = &data, .msg_iovlen = 1 };
	sendmsg(s, &m, 0);
	connect_to(s, SA(unspec));
	s = udp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	connect_to(s, SA(unspec));
	connect_to(tcp(AF_INET), SA(unspec));
	s = udp(AF_INET6);
	send_to(s, SA(unspec6));
	connect_to(s, SA(unspec6));
}

void b2_v4_on_v6(const struct target *to)
{
	int s = udp(AF_INET6);
	send_to(s, SA(to->v4));
	connect_to(s, SA(to->v4));
	connect_to(tcp(AF_INET6), SA(to->v4));
}

static void mapped(const struct target *to, uint32_t v4)
{
	struct sockaddr_in6 a = to->v6;
	memset(&a.sin6_addr, 0, sizeof a.sin6_addr);
	a.sin6_addr.s6_addr16[5] = 0xffff;
	a.sin6_addr.s6_addr32[3] = v4;
	int s = udp(AF_INET6);
	send_to(s, SA(a));
	connect_to(s, SA(a));
	connect_to(tcp(AF_INET6), SA(a));
}

void b3_mapped(const struct target *to) { mapped(to, htonl(INADDR_LOOPBACK)); }

void b4_any(const struct target *to)
{
	struct sockaddr_in v4 = to->v4;
	struct sockaddr_in6 v6 = to->v6;
	v4.sin_addr.s_addr = 0;
	v6.sin6_addr = in6addr_any;
	send_to(udp(AF_INET), SA(v4));
	connect_to(udp(AF_INET), SA(v4));
	connect_to(tcp(AF_INET), SA(v4));
	send_to(udp(AF_INET6), SA(v6));
	connect_to(udp(AF_INET6), SA(v6));
	connect_to(tcp(AF_INET6), SA(v6));
	mapped(to, 0);
}

#define UP(x) ((long)(uint32_t)(x) | 0x5a5a5a5a00000000L)

void b8_upper_words(const struct target *to)
{
	long s = syscall(SYS_socket, UP(AF_INET), UP(SOCK_DGRAM), UP(0));
	syscall(SYS_sendto, UP(s), "trick", 5L, UP(0), &to->v4, UP(sizeof to->v4));
	syscall(SYS_connect, UP(s), &to->v4, UP(sizeof to->v4));
	syscall(SYS_sendto, UP(s), "trick", 5L, UP(0), 0L, UP(0));
	s = syscall(SYS_socket, UP(AF_INET), UP(SOCK_STREAM), UP(0));
	syscall(SYS_connect, UP(s), &to->v4, UP(sizeof to->v4));
	syscall(SYS_sendto, UP(s), "trick", 5L, UP(MSG_NOSIGNAL), 0L, UP(0));
	close(s);
	if (to == &allowed)
		return;
	s = tcp(AF_INET);
	syscall(SYS_sendto, UP(s), "trick", 5L, UP(MSG_FASTOPEN), &to->v4, UP(sizeof to->v4));
	char nop[4] = { 1, 1, 1, 1 };
	syscall(SYS_setsockopt, UP(s), UP(IPPROTO_IP), UP(IP_OPTIONS), nop, UP(4));
	socklen_t n = 4;
	if (getsockopt(s, IPPROTO_IP, IP_OPTIONS, nop, &n) == 0 && n > 0)
		leak("IP_OPTIONS behind a garbage level are set");
	close(s);
	if (syscall(SYS_socket, UP(AF_VSOCK), UP(SOCK_STREAM), UP(0)) >= 0)
		leak("AF_VSOCK with garbage");
	if (syscall(SYS_io_uring_setup, UP(4), 0L) < 0 && errno == EFAULT)
		leak("io_uring_setup with garbage");
}

void b11_again(const struct target *to)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int s = tcp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	connect(s, SA(none));
	connect_to(s, SA(to->v4));
	s = udp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	connect(s, SA(none));
	connect_to(s, SA(to->v4));
	s = udp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	if (connect(s, (struct sockaddr *)SA(to->v4)) == 0)
		send(s, "trick", 5, 0);
	close(s);
}

void b12_explicit(const struct target *to)
{
	struct sockaddr_in other = to->v4;
	struct iovec data = { "trick", 5 };
	struct mmsghdr m = { .msg_hdr = { .msg_name = &other, .msg_namelen = sizeof other, .msg_iov = &data, .msg_iovlen = 1 } };
	int s = udp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	send_to(s, SA(to->v4));
	sendmsg(s, &m.msg_hdr, 0);
	sendmmsg(s, &m, 1, 0);
	close(s);
}

/* Sends to the allowed target with a control message that must not get out. */
void with_control(int s, const void *name, socklen_t len, int level, int type, const void *data, size_t n)
{
	with_text(s, name, len, level, type, data, n, "forbidden");
}

void with_text(int s, const void *name, socklen_t len, int level, int type, const void *data, size_t n, char *text)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64)];
	} control = {};
	struct iovec iov = { text, strlen(text) };
	struct msghdr m = { .msg_name = (void *)name, .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = CMSG_SPACE(n) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(n);
	memcpy(CMSG_DATA(c), data, n);
	struct mmsghdr mm = { .msg_hdr = m };
	sendmsg(s, &m, 0);
	sendmmsg(s, &mm, 1, 0);
}

void b13_routing_header(const struct target *to)
{
	struct {
		uint8_t next, len, type, left, last, flags;
		uint16_t tag;
		struct in6_addr segments[2];
	} header = { .len = 4, .type = 4, .left = 1, .last = 1, .segments = { in6addr_loopback, in6addr_loopback } };
	static const int options[] = { IPV6_RTHDR, 5 /* IPV6_2292RTHDR */ };
	for (int stream = 0; stream < 2; stream++) {
		int s = stream ? tcp(AF_INET6) : udp(AF_INET6);
		for (int i = 0; i < 2; i++)
			setsockopt(s, IPPROTO_IPV6, options[i], SA(header));
		char back[256];
		socklen_t n = sizeof back;
		if (getsockopt(s, IPPROTO_IPV6, IPV6_RTHDR, back, &n) == 0 && n > 0)
			leak("a type-4 routing header of %d bytes is set", (int)n);
		if (!stream)
			for (int i = 0; i < 2; i++)
				with_control(s, SA(allowed.v6), IPPROTO_IPV6, options[i], SA(header));
		close(s);
	}
	if (to == &allowed)
		send_to(udp(AF_INET6), SA(to->v6));
}

void b14_source_route(const struct target *to)
{
	/* Loose source route by 127.0.0.3, and the same room of no-operations,
	 * which an ordinary user may send too. */
	static const unsigned char route[] = { 131, 7, 4, 127, 0, 0, 3, 1 }, nops[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
	int s = udp(AF_INET);
	const void *options[] = { route, nops };
	for (int i = 0; i < 2; i++) {
		setsockopt(s, IPPROTO_IP, IP_OPTIONS, options[i], 8);
		char back[40];
		socklen_t n = sizeof back;
		if (getsockopt(s, IPPROTO_IP, IP_OPTIONS, back, &n) == 0 && n > 0)
			leak("IP_OPTIONS of %d bytes are set", (int)n);
		setsockopt(s, IPPROTO_IP, IP_OPTIONS, "", 0);
		with_control(s, SA(allowed.v4), IPPROTO_IP, IP_RETOPTS, options[i], 8);
	}
	close(s);
	if (to == &allowed)
		send_to(udp(AF_INET), SA(to->v4));
}

static int listed(const char *file, const char *group)
{
	char text[65536] = "";
	int fd = open(file, O_RDONLY);
	for (size_t at = 0; at < sizeof text - 1;) {
		ssize_t n = read(fd, text + at, sizeof text - 1 - at);
		if (n <= 0)
			break;
		at += n;
	}
	close(fd);
	return strstr(text, group) != NULL;
}

void b16_groups(const struct target *to)
{
	if (to == &allowed)
		return;
	/* On loopback only: 239.77.66.55 and ff12::7766. */
	struct ip_mreqn m = { .imr_multiaddr.s_addr = inet_addr("239.77.66.55"), .imr_ifindex = 1 };
	struct ip_mreq_source src = { .imr_multiaddr = m.imr_multiaddr, .imr_interface.s_addr = htonl(INADDR_LOOPBACK),
		.imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK) };
	struct group_req g = { .gr_interface = 1 }, g6 = { .gr_interface = 1 };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = m.imr_multiaddr };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct ipv6_mreq m6 = { .ipv6mr_interface = 1 };
	inet_pton(AF_INET6, "ff12::7766", &a6.sin6_addr);
	m6.ipv6mr_multiaddr = a6.sin6_addr;
	memcpy(&g.gr_group, SA(a));
	memcpy(&g6.gr_group, SA(a6));
	struct group_source_req gs = { .gsr_interface = 1, .gsr_group = g.gr_group }, gs6 = { .gsr_interface = 1, .gsr_group = g6.gr_group };
	memcpy(&gs.gsr_source, SA(allowed.v4));
	memcpy(&gs6.gsr_source, SA(allowed.v6));
	struct {
		int family, level, option;
		const void *value;
		socklen_t len;
	} joins[] = {
		{ AF_INET, IPPROTO_IP, IP_ADD_MEMBERSHIP, SA(m) }, { AF_INET, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, SA(src) },
		{ AF_INET, IPPROTO_IP, MCAST_JOIN_GROUP, SA(g) }, { AF_INET, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, SA(gs) },
		{ AF_INET6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, SA(m6) }, { AF_INET6, IPPROTO_IPV6, MCAST_JOIN_GROUP, SA(g6) },
		{ AF_INET6, IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP, SA(gs6) }, { AF_INET6, IPPROTO_IP, IP_ADD_MEMBERSHIP, SA(m) },
	};
	for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
		int s = udp(joins[i].family);
		setsockopt(s, joins[i].level, joins[i].option, joins[i].value, joins[i].len);
		if (listed("/proc/self/net/igmp", "37424DEF") || listed("/proc/self/net/igmp6", "ff120000000000000000000000007766"))
			leak("joined by (%d,%d)", joins[i].level, joins[i].option);
		close(s);
	}
}

void b17_listen(const struct target *to)
{
	static const int families[] = { AF_INET, AF_INET6 };
	if (to == &allowed)
		return;
	for (int i = 0; i < 2; i++) {
		int s = tcp(families[i]);
		listen(s, 5);
		struct sockaddr_in6 a = {};
		socklen_t len = sizeof a;
		getsockname(s, &a, &len);
		if (a.sin6_port) {
			char what[64];
			snprintf(what, sizeof what, "connect %d", ntohs(a.sin6_port));
			ask(what);
		}
		fcntl(s, F_SETFL, O_NONBLOCK);
		if (accept(s, NULL, NULL) >= 0)
			leak("accepted a connection on a port of the kernel's choice");
		close(s);
	}
}

/* Datagrams to port 0 can be sent by a socket that is connected to it. The
 * destination's answer, that nobody is there, proves that they arrived. */
static void port_zero(int family, const void *addr, socklen_t len)
{
	int s = udp(family);
	if (connect(s, addr, len) == 0) {
		char c;
		send(s, "trick", 5, 0);
		send(s, "trick", 5, 0);
		write(s, "trick", 5);
		if (recv(s, &c, 1, MSG_DONTWAIT) < 0 && errno == ECONNREFUSED)
			leak("a datagram to port 0 of family %d was answered", family);
	}
	close(s);
}

void b18_port_zero(const struct target *to)
{
	struct sockaddr_in v4 = to->v4;
	struct sockaddr_in6 v6 = to->v6;
	if (to == &allowed)
		return;
	v4.sin_port = v6.sin6_port = 0;
	v4.sin_addr.s_addr = htonl(0x7f090909); /* no rule speaks of it */
	port_zero(AF_INET, SA(v4));
	port_zero(AF_INET6, SA(v6));
}

enum { MESSAGES = 200, ROUNDS = 5 };

static struct form {
	int fd;
	struct mmsghdr m[MESSAGES];
} form;

/* Waits until a few messages are sent: whoever sends them has looked at the
 * socket then. */
static void *change_form(void *arg)
{
	(void)arg;
	for (long i = 0; i < 2000000 && __atomic_load_n(&form.m[4].msg_len, __ATOMIC_RELAXED) == 0; i++)
		sched_yield();
	setsockopt(form.fd, IPPROTO_IPV6, IPV6_ADDRFORM, &(int){ AF_INET }, sizeof(int));
	return NULL;
}

/* An IPv6 socket that is connected to an IPv4 address can be made an IPv4 one,
 * to which AF_UNSPEC means AF_INET, while a call is under way. */
static void change_during(const struct target *to)
{
	struct sockaddr_in name = to->v4;
	struct sockaddr_in6 first = allowed.v6;
	struct iovec data = { "trick", 5 };
	struct sockaddr_in fine = allowed.v4;
	name.sin_family = AF_UNSPEC;
	memset(&first.sin6_addr, 0, 16);
	first.sin6_addr.s6_addr16[5] = 0xffff;
	first.sin6_addr.s6_addr32[3] = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < MESSAGES; i++)
		form.m[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = i < MESSAGES / 2 ? &fine : &name, .msg_namelen = sizeof name, .msg_iov = &data, .msg_iovlen = 1 } };
	form.fd = udp(AF_INET6);
	setsockopt(form.fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3); /* the unchanged one may send ::ffff:a.b.c.d */
	connect(form.fd, (struct sockaddr *)SA(first));
	pthread_t t;
	pthread_create(&t, NULL, change_form, NULL);
	sendmmsg(form.fd, form.m, MESSAGES, 0);
	pthread_join(t, NULL);
	sendmmsg(form.fd, form.m + MESSAGES / 2, 1, 0);
	close(form.fd);
}

void b19_addrform(const struct target *to)
{
	for (int i = 0; i < ROUNDS && to != &allowed; i++)
		change_during(to);
}

/* A flow label can carry a routing header. */
void b20_flow_label(const struct target *to)
{
	struct {
		struct {
			struct in6_addr dst;
			uint32_t label;
			uint8_t action, share;
			uint16_t flags, expires, linger;
			uint32_t pad;
		} request;
		struct cmsghdr head;
		struct {
			uint8_t next, len, type, left;
			uint32_t reserved;
			struct in6_addr hop;
		} header;
	} r = { .request = { .dst = in6addr_loopback, .action = 0, .share = 1, .flags = 1 },
		.head = { CMSG_LEN(24), IPPROTO_IPV6, IPV6_RTHDR }, .header = { .len = 2, .type = 2, .left = 1, .hop = in6addr_loopback } };
	if (to == &allowed)
		return;
	int s = udp(AF_INET6);
	if (setsockopt(s, IPPROTO_IPV6, 32 /* IPV6_FLOWLABEL_MGR */, SA(r)) == 0)
		leak("a flow label with a routing header");
	else
		note("IPV6_FLOWLABEL_MGR: %m");
	r.header.type = 4;
	if (setsockopt(s, IPPROTO_IPV6, 32, SA(r)) == 0)
		leak("a flow label with a type-4 routing header");
	close(s);
}

/* Other names of this host: the receivers listen on all of them. */
void b5_names(const struct target *to)
{
	struct ifaddrs *list, *a;
	struct sockaddr_in v4 = to->v4;
	struct sockaddr_in6 v6 = to->v6;
	static const char *const names[] = { "127.0.0.2", "127.255.255.254" };
	for (int i = 0; i < 2; i++) {
		inet_pton(AF_INET, names[i], &v4.sin_addr);
		send_to(udp(AF_INET), SA(v4));
		connect_to(tcp(AF_INET), SA(v4));
		mapped(to, v4.sin_addr.s_addr);
	}
	if (getifaddrs(&list) != 0)
		return;
	for (a = list; a; a = a->ifa_next)
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET) {
			v4.sin_addr = ((struct sockaddr_in *)a->ifa_addr)->sin_addr;
			send_to(udp(AF_INET), SA(v4));
			connect_to(tcp(AF_INET), SA(v4));
		} else if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET6) {
			v6.sin6_addr = ((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr;
			v6.sin6_scope_id = ((struct sockaddr_in6 *)a->ifa_addr)->sin6_scope_id;
			send_to(udp(AF_INET6), SA(v6));
			connect_to(tcp(AF_INET6), SA(v6));
		}
	freeifaddrs(list);
}

static void of_length(int s, const void *name, int len)
{
	struct iovec data = { "trick", 5 };
	struct msghdr m = { .msg_name = (void *)name, .msg_namelen = len, .msg_iov = &data, .msg_iovlen = 1 };
	struct mmsghdr mm = { .msg_hdr = m };
	syscall(SYS_sendto, s, "trick", 5, MSG_NOSIGNAL, name, len);
	sendmsg(s, &m, MSG_NOSIGNAL);
	sendmmsg(s, &mm, 1, MSG_NOSIGNAL);
	if (syscall(SYS_connect, s, name, len) == 0)
		send(s, "trick", 5, MSG_NOSIGNAL);
	close(s);
}

void b7_lengths(const struct target *to)
{
	static const int lengths[] = { 0, 1, 2, 7, 8, 15, 16, 17, 20, 23, 24, 27, 28, 29, 32, 110, 127, 128, 129, 256, 4096, 0x7fffffff, -1, -128 };
	char name4[8192] = "", name6[8192] = "";
	memcpy(name4, SA(to->v4));
	memcpy(name6, SA(to->v6));
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		of_length(udp(AF_INET), name4, lengths[i]);
		of_length(udp(AF_INET6), name6, lengths[i]);
		of_length(udp(AF_INET6), name4, lengths[i]);
		of_length(tcp(AF_INET), name4, lengths[i]);
		of_length(tcp(AF_INET6), name6, lengths[i]);
	}
}

/* The payload, the flags and what comes after the arguments look like an
 * allowed address. */
void b9_slots(const struct target *to)
{
	struct sockaddr_in fine = allowed.v4;
	struct {
		struct sockaddr_in fine;
		char text[8];
	} payload = { allowed.v4, "trick" };
	struct iovec data = { &payload, sizeof payload };
	struct msghdr m = { .msg_name = (void *)&to->v4, .msg_namelen = sizeof to->v4, .msg_iov = &data, .msg_iovlen = 1, .msg_flags = MSG_DONTROUTE };
	long at = (long)&fine, len = sizeof fine;
	int s = udp(AF_INET);
	syscall(SYS_sendto, s, &payload, sizeof payload, 0, &to->v4, len);
	syscall(SYS_sendto, s, &fine, len, len, &to->v4, len); /* flags 16: MSG_PROXY */
	syscall(SYS_sendmsg, s, &m, 0, at, at, len);
	if (syscall(SYS_connect, s, &to->v4, len, at, at, len) == 0)
		syscall(SYS_sendto, s, "trick", 5, 0, 0, at);
	close(s);
	s = tcp(AF_INET);
	if (syscall(SYS_connect, s, &to->v4, len, at, at, len) == 0)
		syscall(SYS_sendto, s, "trick", 5, MSG_NOSIGNAL, 0, len);
	close(s);
}

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* Addresses that the kernel can read and others cannot, and some that nobody
 * can. */
void b10_unreadable(const struct target *to)
{
	char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sockaddr_in odd = to->v4;
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, 4096) == 0) {
		char *secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		struct msghdr *m = (struct msghdr *)(secret + 512);
		struct iovec data = { "trick", 5 };
		memcpy(secret, &to->v4, sizeof to->v4);
		of_length(udp(AF_INET), secret, sizeof to->v4);
		of_length(tcp(AF_INET), secret, sizeof to->v4);
		*m = (struct msghdr){ .msg_name = (void *)&to->v4, .msg_namelen = sizeof to->v4, .msg_iov = &data, .msg_iovlen = 1 };
		syscall(SYS_sendmsg, udp(AF_INET), m, 0);
	} else {
		note("memfd_secret: %m");
	}
	munmap(pages + 4096, 4096);
	memcpy(pages + 4096 - sizeof to->v4, &to->v4, sizeof to->v4);
	of_length(udp(AF_INET), pages + 4096 - sizeof to->v4, 28); /* its end cannot be read */
	of_length(udp(AF_INET), pages + 4096, 16);
	of_length(udp(AF_INET), (void *)-4096L, 16);
	mprotect(pages + 8192, 4096, PROT_WRITE);
	memcpy(pages + 8192, &to->v4, sizeof to->v4);
	of_length(udp(AF_INET), pages + 8192, 16);
	static const int families[] = { 0x1234, 255, AF_UNIX, AF_NETLINK, AF_PACKET };
	for (int i = 0; i < 5; i++) {
		odd.sin_family = families[i];
		of_length(udp(AF_INET), &odd, sizeof odd);
		of_length(udp(AF_INET6), &odd, sizeof odd);
		of_length(tcp(AF_INET), &odd, sizeof odd);
	}
}

/* Where a datagram comes from and which way it goes does not change where to. */
void b15_source(const struct target *to)
{
	struct in_pktinfo from = { .ipi_ifindex = 1, .ipi_spec_dst.s_addr = htonl(0x7f000005), .ipi_addr = allowed.v4.sin_addr };
	struct in6_pktinfo from6 = { .ipi6_ifindex = 1 };
	int s = udp(AF_INET), one = htonl(1);
	with_text(s, SA(to->v4), IPPROTO_IP, IP_PKTINFO, SA(from), "trick");
	with_text(udp(AF_INET6), SA(to->v6), IPPROTO_IPV6, IPV6_PKTINFO, SA(from6), "trick");
	setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
	send_to(s, SA(to->v4));
	setsockopt(s, IPPROTO_IP, IP_UNICAST_IF, SA(one));
	setsockopt(s, IPPROTO_IP, IP_FREEBIND, &(int){ 1 }, sizeof(int));
	setsockopt(s, IPPROTO_IP, IP_TRANSPARENT, &(int){ 1 }, sizeof(int));
	setsockopt(s, SOL_SOCKET, SO_MARK, &(int){ 7 }, sizeof(int));
	send_to(s, SA(to->v4));
	connect_to(s, SA(to->v4));
	s = tcp(AF_INET);
	setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
	connect_to(s, SA(to->v4));
}
