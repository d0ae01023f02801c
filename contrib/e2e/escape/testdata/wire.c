/* A network of the test's own: a cable whose far end counts. And the tricks
 * that put on a wire what nobody has sent. */
#include "escape.h"
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <net/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>

#define GROUP "239.77.66.55"
#define GROUP6 "ff12::7766"
#define LAST "239.77.66.99"
#define LAST6 "ff12::7799"

static void fail(const char *what)
{
	dprintf(1, "BROKEN %s: %s\n", what, strerror(errno));
	exit(3);
}

static void put(const char *file, const char *format, ...)
{
	char text[100];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args), fd = open(file, O_WRONLY);
	va_end(args);
	if (write(fd, text, n) != n && strcmp(file, "/proc/self/setgroups") != 0)
		fail(file);
	close(fd);
}

/* Capabilities are kept over exec, or given up. */
static void keep_capabilities(int keep)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	if (!keep) {
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		for (int c = 0; c <= 63; c++)
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
		return;
	}
	syscall(SYS_capget, &head, data);
	for (int i = 0; i < 2; i++)
		data[i].inheritable = data[i].permitted;
	syscall(SYS_capset, &head, data);
	for (int c = 0; c <= 63; c++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0);
}

/* One processor, so that nothing overtakes anything. */
static void one_processor(void)
{
	cpu_set_t all, one;
	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof all, &all);
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &all)) {
			CPU_SET(c, &one);
			break;
		}
	sched_setaffinity(0, sizeof one, &one);
}

static const char cable[] =
	"set -e\n"
	"ip link set lo up\n"
	"ip link add wire0 type veth peer name wire1\n"
	"cd /proc/sys/net/ipv6/conf\n"
	"echo 1 >wire1/disable_ipv6; echo 0 >wire0/accept_dad; echo 0 >wire0/router_solicitations\n"
	"ip addr add 10.77.0.1/24 dev wire0\n"
	"ip link set wire0 up multicast on\n"
	"ip link set wire1 up\n"
	"ip -6 addr add fd77::1/64 dev wire0 nodad\n"
	"ip -6 addr add fe80::1/64 dev wire0 nodad\n"
	"ip route add default via 10.77.0.2 dev wire0\n"
	"for n in 2 3 9; do for a in 10.77.0.$n fd77::$n fe80::$n; do ip neigh add $a lladdr 02:00:00:00:00:0$n dev wire0 nud permanent; done; done\n"
	"echo \"$(id -g) $(id -g)\" >/proc/sys/net/ipv4/ping_group_range\n";

static int lay_cable(void)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		keep_capabilities(1);
		dup2(2, 1);
		setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
		execlp("sh", "sh", "-c", cable, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	if (status != 0)
		fail("ip: lay a cable");
	int s = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex("wire1") };
	if (s < 0 || bind(s, (struct sockaddr *)SA(at)) != 0)
		fail("watch the cable");
	return s;
}

enum { SEEN_4 = 1, SEEN_6 = 2, SEEN_IGMP = 4, SEEN_MLD = 8, SEEN_ALL = 15 };
static struct {
	long denied, allowed, trick, marks;
} wire;

static int holds(const unsigned char *p, size_t n, const void *what, size_t len)
{
	return memmem(p, n, what, len) != NULL;
}

static int holds_group(const unsigned char *p, size_t n, const char *v4, const char *v6)
{
	struct in_addr a = { inet_addr(v4) };
	struct in6_addr a6;
	inet_pton(AF_INET6, v6, &a6);
	return holds(p, n, &a, sizeof a) || holds(p, n, &a6, sizeof a6);
}

static void to_host(int host, int twisted, const unsigned char *p, size_t n)
{
	if (twisted || host == 3 || host == 255)
		wire.denied++;
	else if (host == 2) {
		wire.allowed++;
		wire.trick += holds(p, n, "trick", 5);
	}
}

/* Says what a packet on the wire is. */
static void classify(const unsigned char *p, size_t n)
{
	const struct iphdr *v4 = (const void *)p;
	const struct ip6_hdr *v6 = (const void *)p;
	int multicast;
	if (n >= sizeof *v4 && v4->version == 4) {
		int net = ntohl(v4->daddr) >> 8, host = ntohl(v4->daddr) & 255;
		multicast = (ntohl(v4->daddr) >> 28) == 14 || v4->daddr == 0xffffffff;
		if (multicast && holds_group(p, n, LAST, LAST6))
			wire.marks |= SEEN_IGMP;
		if (holds_group(p, n, GROUP, GROUP6) || (multicast && holds(p, n, "trick", 5)))
			wire.denied++;
		else if (net == 0x0a4d00 && host == 9)
			wire.marks |= SEEN_4;
		else if (net == 0x0a4d00)
			to_host(host, v4->ihl > 5, p, n);
		else if (!multicast)
			wire.denied++; /* by way of somewhere else */
	} else if (n >= sizeof *v6 && p[0] >> 4 == 6) {
		int host = v6->ip6_dst.s6_addr[15];
		multicast = v6->ip6_dst.s6_addr[0] == 0xff;
		if (multicast && holds_group(p, n, LAST, LAST6))
			wire.marks |= SEEN_MLD;
		if (holds_group(p, n, GROUP, GROUP6) || (multicast && holds(p, n, "trick", 5)))
			wire.denied++;
		else if (!multicast && host == 9)
			wire.marks |= SEEN_6;
		else if (!multicast)
			to_host(host, v6->ip6_nxt == IPPROTO_ROUTING || v6->ip6_nxt == IPPROTO_HOPOPTS || v6->ip6_nxt == IPPROTO_DSTOPTS, p, n);
	}
}

static void *watch(void *arg)
{
	int s = *(int *)arg;
	unsigned char p[4096];
	struct pollfd ready = { .fd = s, .events = POLLIN };
	while (poll(&ready, 1, -1) >= 0) {
		struct sockaddr_ll from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(s, p, sizeof p, 0, (struct sockaddr *)&from, &len);
		if (n > 0 && from.sll_pkttype != PACKET_OUTGOING)
			classify(p, n);
		if ((__atomic_load_n(&wire.marks, __ATOMIC_RELAXED) & SEEN_ALL) == SEEN_ALL)
			break;
	}
	return NULL;
}

/* Sends of each kind what comes last. */
static void mark_end(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.77.0.9") };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	struct ip_mreqn m = { .imr_multiaddr.s_addr = inet_addr(LAST), .imr_ifindex = if_nametoindex("wire0") };
	struct ipv6_mreq m6 = { .ipv6mr_interface = if_nametoindex("wire0") };
	inet_pton(AF_INET6, "fd77::9", &a6.sin6_addr);
	inet_pton(AF_INET6, LAST6, &m6.ipv6mr_multiaddr);
	setsockopt(udp(AF_INET), IPPROTO_IP, IP_ADD_MEMBERSHIP, SA(m));
	setsockopt(udp(AF_INET6), IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, SA(m6));
	for (int i = 0; i < 3000 && (__atomic_load_n(&wire.marks, __ATOMIC_RELAXED) & (SEEN_IGMP | SEEN_MLD)) != (SEEN_IGMP | SEEN_MLD); i++)
		usleep(10000);
	for (int i = 0; i < 3000 && __atomic_load_n(&wire.marks, __ATOMIC_RELAXED) != SEEN_ALL; i++) {
		sendto(udp(AF_INET), "last", 4, 0, (struct sockaddr *)SA(a));
		sendto(udp(AF_INET6), "last", 4, 0, (struct sockaddr *)SA(a6));
		usleep(10000);
	}
	if (wire.marks != SEEN_ALL) {
		dprintf(1, "BROKEN the wire has shown only %lx of what came last\n", wire.marks);
		exit(3);
	}
}

/* inside HOW COMMAND: starts a command in namespaces of its own. HOW has w for
 * a network with a cable, p for process numbers, r for another /run, k to keep
 * the capabilities that come with it. */
void inside(char **argv)
{
	const char *how = argv[0];
	int uid = geteuid(), gid = getegid(), packets = -1, status = 0;
	pthread_t watcher;
	if (strchr(how, 'w'))
		one_processor();
	if (uid != 0) {
		if (unshare(CLONE_NEWUSER) != 0)
			fail("a user namespace");
		put("/proc/self/setgroups", "deny");
		put("/proc/self/uid_map", "%d %d 1", uid, uid);
		put("/proc/self/gid_map", "%d %d 1", gid, gid);
	}
	if (unshare(CLONE_NEWNS | (strchr(how, 'w') ? CLONE_NEWNET : 0) | (strchr(how, 'p') ? CLONE_NEWPID : 0)) != 0)
		fail("namespaces");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		fail("private mounts");
	if (strchr(how, 'r') && mount(getenv("ESCAPE_RUN"), "/run", NULL, MS_BIND, NULL) != 0)
		fail("bind /run");
	if (strchr(how, 'w')) {
		packets = lay_cable();
		pthread_create(&watcher, NULL, watch, &packets);
		setenv("ESCAPE_WIRE", "1", 1);
	}
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (strchr(how, 'p') && mount("proc", "/proc", "proc", 0, NULL) != 0)
			fail("mount /proc");
		keep_capabilities(strchr(how, 'k') != NULL);
		pid_t child = strchr(how, 'p') ? fork() : 0;
		if (child != 0) { /* the first process reaps, and ends all */
			while (wait(&status) != child)
				;
			_exit(0);
		}
		execv(argv[1], argv + 1);
		fail("exec");
	}
	waitpid(pid, &status, 0);
	if (packets >= 0) {
		mark_end();
		pthread_join(watcher, NULL);
		dprintf(1, "WIRE %ld %ld %ld\n", wire.denied, wire.allowed, wire.trick);
	}
	exit(0);
}

/* Starts to connect, and waits for nothing. */
static void syn(int s, const void *addr, socklen_t len)
{
	fcntl(s, F_SETFL, O_NONBLOCK);
	connect(s, addr, len);
	close(s);
}

void b6_scope(const struct target *to)
{
	struct sockaddr_in6 a = to->v6;
	static const unsigned scopes[] = { 1, 4242, 0xffffffff };
	for (int i = 0; i < 3 && !on_wire; i++) {
		a.sin6_scope_id = scopes[i];
		send_to(udp(AF_INET6), SA(a));
		connect_to(udp(AF_INET6), SA(a));
		connect_to(tcp(AF_INET6), SA(a));
	}
	if (!on_wire)
		return;
	a.sin6_addr.s6_addr[0] = 0xfe; /* fe80::2 or fe80::3 */
	a.sin6_addr.s6_addr[1] = 0x80;
	a.sin6_scope_id = if_nametoindex("wire0");
	send_to(udp(AF_INET6), SA(a));
	connect_to(udp(AF_INET6), SA(a));
	syn(tcp(AF_INET6), SA(a));
	a.sin6_scope_id = 0;
	int s = udp(AF_INET6);
	setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "wire0", 6);
	send_to(s, SA(a));
	close(s);
}

void b13_wire(const struct target *to)
{
	struct {
		uint8_t next, len, type, left, last, flags;
		uint16_t tag;
		struct in6_addr segments[2];
	} header = { .len = 4, .type = 4, .left = 1, .last = 1, .segments = { allowed.v6.sin6_addr, to->v6.sin6_addr } };
	static const int options[] = { IPV6_RTHDR, 5 /* IPV6_2292RTHDR */ };
	for (int i = 0; i < 2; i++) {
		int s = udp(AF_INET6);
		if (to == &denied && setsockopt(s, IPPROTO_IPV6, options[i], SA(header)) != 0)
			note("routing header: %m");
		send_to(s, SA(allowed.v6));
		close(s);
		s = tcp(AF_INET6);
		if (to == &denied)
			setsockopt(s, IPPROTO_IPV6, options[i], SA(header));
		syn(s, SA(allowed.v6));
		if (to == &denied)
			with_control(udp(AF_INET6), SA(allowed.v6), IPPROTO_IPV6, options[i], SA(header));
	}
}

void b14_wire(const struct target *to)
{
	/* Loose and strict, by the denied host. */
	unsigned char routes[2][8] = { { 131, 7, 4, 10, 77, 0, 3, 1 }, { 137, 7, 4, 10, 77, 0, 3, 1 } };
	for (int i = 0; i < 2; i++) {
		int s = udp(AF_INET);
		if (to == &denied && setsockopt(s, IPPROTO_IP, IP_OPTIONS, routes[i], 8) != 0)
			note("source route: %m");
		send_to(s, SA(allowed.v4));
		close(s);
		s = tcp(AF_INET);
		if (to == &denied)
			setsockopt(s, IPPROTO_IP, IP_OPTIONS, routes[i], 8);
		syn(s, SA(allowed.v4));
		if (to == &denied)
			with_control(udp(AF_INET), SA(allowed.v4), IPPROTO_IP, IP_RETOPTS, routes[i], 8);
	}
}

/* Joins groups, of one family: the kernel tells the network. */
static void join(int family, const struct target *to)
{
	unsigned wire0 = if_nametoindex("wire0");
	struct ip_mreqn m = { .imr_multiaddr.s_addr = inet_addr(GROUP), .imr_ifindex = wire0 };
	struct ip_mreq_source src = { .imr_multiaddr = m.imr_multiaddr, .imr_interface.s_addr = inet_addr("10.77.0.1"),
		.imr_sourceaddr = allowed.v4.sin_addr };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = m.imr_multiaddr, .sin_port = to->v4.sin_port };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = to->v6.sin6_port, .sin6_scope_id = wire0 };
	struct ipv6_mreq m6 = { .ipv6mr_interface = wire0 };
	struct group_req g = { .gr_interface = wire0 }, g6 = { .gr_interface = wire0 };
	if (to == &allowed)
		return;
	inet_pton(AF_INET6, GROUP6, &a6.sin6_addr);
	m6.ipv6mr_multiaddr = a6.sin6_addr;
	memcpy(&g.gr_group, SA(a));
	memcpy(&g6.gr_group, SA(a6));
	struct group_source_req gs = { .gsr_interface = wire0, .gsr_group = g.gr_group }, gs6 = { .gsr_interface = wire0, .gsr_group = g6.gr_group };
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
		if (joins[i].family == family)
			setsockopt(s, joins[i].level, joins[i].option, joins[i].value, joins[i].len);
		close(s);
	}
}

void b16_igmp(const struct target *to) { join(AF_INET, to); }
void b16_mld(const struct target *to) { join(AF_INET6, to); }

/* To groups, and to everybody. */
void b16_send(const struct target *to)
{
	struct ip_mreqn m = { .imr_ifindex = if_nametoindex("wire0") };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = to->v4.sin_port };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = to->v6.sin6_port, .sin6_scope_id = m.imr_ifindex };
	static const char *const names[] = { GROUP, "224.0.0.1", "255.255.255.255", "10.77.0.255" };
	if (to == &allowed)
		return;
	int s = udp(AF_INET);
	setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, SA(m));
	setsockopt(s, SOL_SOCKET, SO_BROADCAST, &(int){ 1 }, sizeof(int));
	for (int i = 0; i < 4; i++) {
		inet_pton(AF_INET, names[i], &a.sin_addr);
		send_to(s, SA(a));
	}
	inet_pton(AF_INET6, GROUP6, &a6.sin6_addr);
	send_to(udp(AF_INET6), SA(a6));
	close(s);
}

void c15_ping(const struct target *to)
{
	struct icmphdr echo = { .type = ICMP_ECHO };
	struct icmp6_hdr echo6 = { .icmp6_type = ICMP6_ECHO_REQUEST };
	char packet[sizeof echo + 5];
	int s = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	if (s < 0)
		note("ping socket: %m");
	memcpy(packet, SA(echo));
	memcpy(packet + sizeof echo, "trick", 5);
	sendto(s, packet, sizeof packet, 0, (struct sockaddr *)SA(to->v4));
	if (connect(s, (struct sockaddr *)SA(to->v4)) == 0)
		send(s, packet, sizeof packet, 0);
	close(s);
	s = socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6);
	memcpy(packet, SA(echo6));
	sendto(s, packet, sizeof packet, 0, (struct sockaddr *)SA(to->v6));
	close(s);
}

/* What needs CAP_NET_ADMIN, which a jailed program does not get. */
void c16_tunnel(const struct target *to)
{
	struct ifreq r = { .ifr_name = "tun77", .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct ifreq alias = { .ifr_name = "wire0:7" };
	if (to == &allowed)
		return;
	int fd = open("/dev/net/tun", O_RDWR);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &r) == 0)
		leak("a TUN interface");
	close(fd);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.77.0.7") };
	memcpy(&alias.ifr_addr, SA(a));
	int s = udp(AF_INET);
	if (ioctl(s, SIOCSIFADDR, &alias) == 0)
		leak("an address of its own");
	struct {
		struct nlmsghdr head;
		struct ifinfomsg body;
	} down = { { sizeof down, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0 }, { .ifi_index = 1, .ifi_change = IFF_UP } };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[500];
	} answer = { .error.error = -1 };
	int n = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (send(n, &down, sizeof down, 0) > 0 && recv(n, &answer, sizeof answer, 0) > 0 && answer.error.error == 0)
		leak("an interface taken down by netlink");
	close(n);
	close(s);
}
