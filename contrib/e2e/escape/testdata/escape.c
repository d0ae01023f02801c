/* escape tries one way out of a jail.
 *
 *   escape ROW ALLOWED-PORT DENIED-PORT
 *
 * It first and last sends to the allowed port by ordinary means, and in between
 * does the row's trick against both. Lines on stdout: LEAK for what it got other
 * than packets, NOTE, ASK for the test to do, answered on descriptor 3, and DONE. */
#include "escape.h"
#include <signal.h>

struct target allowed, denied;
int on_wire;

static void line(const char *kind, const char *format, va_list args)
{
	char text[512];
	vsnprintf(text, sizeof text, format, args);
	dprintf(1, "%s %s\n", kind, text);
}

void leak(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	line("LEAK", format, args);
	va_end(args);
}

void note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	line("NOTE", format, args);
	va_end(args);
}

void ask(const char *what)
{
	char c = 0;
	dprintf(1, "ASK %s\n", what);
	while (c != '\n' && read(3, &c, 1) == 1)
		;
}

int udp(int family) { return socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0); }
int tcp(int family) { return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); }

void send_to(int fd, const void *addr, socklen_t len)
{
	sendto(fd, "trick", 5, MSG_NOSIGNAL, addr, len);
}

void connect_to(int fd, const void *addr, socklen_t len)
{
	if (connect(fd, addr, len) == 0)
		send(fd, "trick", 5, MSG_NOSIGNAL);
	close(fd);
}

void plain(void)
{
	int s = udp(AF_INET);
	if (sendto(s, "plain", 5, 0, (struct sockaddr *)SA(allowed.v4)) != 5)
		note("plain sendto: %m");
	close(s);
	if (on_wire)
		return;
	s = tcp(AF_INET);
	if (connect(s, (struct sockaddr *)SA(allowed.v4)) != 0 || send(s, "plain", 5, MSG_NOSIGNAL) != 5)
		note("plain connect: %m");
	close(s);
}

struct target target(const char *port)
{
	struct target t = { .port = atoi(port) };
	t.v4.sin_family = AF_INET;
	t.v4.sin_port = htons(t.port);
	t.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	t.v6.sin6_family = AF_INET6;
	t.v6.sin6_port = htons(t.port);
	t.v6.sin6_addr = in6addr_loopback;
	return t;
}

static const struct {
	const char *name;
	trick *run;
} tricks[] = {
	{ "A1", a1_address }, { "A2", a2_descriptor }, { "A3", a3_family }, { "A4", a4_header }, { "A5", a5_mmsg }, { "A6", a6_tables }, { "A7", a7_fault }, { "A8", a8_number }, { "A9", a9_path }, { "A10", a10_reuse },
	{ "B1", b1_unspec }, { "B2", b2_v4_on_v6 }, { "B3", b3_mapped }, { "B4", b4_any }, { "B5", b5_names }, { "B6", b6_scope }, { "B7", b7_lengths }, { "B8", b8_upper_words }, { "B9", b9_slots }, { "B10", b10_unreadable },
	{ "B11", b11_again }, { "B12", b12_explicit }, { "B13", b13_routing_header }, { "B13/wire", b13_wire }, { "B14", b14_source_route }, { "B14/wire", b14_wire }, { "B15", b15_source }, { "B16", b16_groups },
	{ "B16/igmp", b16_igmp }, { "B16/mld", b16_mld }, { "B16/send", b16_send }, { "B17", b17_listen }, { "B18", b18_port_zero }, { "B19", b19_addrform }, { "B20", b20_flow_label },
	{ "C1", c1_int80 }, { "C2", c2_x32 }, { "C3", c3_ring }, { "C4", c4_inherited_ring }, { "C4/thread", c5_ring_thread }, { "C5", c5_siblings }, { "C6", c6_fastopen }, { "C7", c7_fastopen_connect },
	{ "C8", c8_mptcp }, { "C9", c9_sctp }, { "C10", c10_families }, { "C11", c11_vsock }, { "C12", c12_alg }, { "C13", c13_netlink }, { "C14", c14_raw }, { "C15", c15_ping }, { "C16", c16_tunnel }, { "C17", c17_namespaces },
	{ "C19", c19_keys }, { "C20", c20_hooks },
	{ "D1", d1_stdin }, { "D2/in", d2_rights_in }, { "D2/out", d2_rights_out }, { "D3", d3_pidfd }, { "D4", d4_memory }, { "D5", d5_signals }, { "D6", d8_brokers }, { "D8", d8_brokers }, { "D8/renamed", d8_renamed }, { "D9", d8_brokers }, { "D9/linked", d9_linked },
	{ "D11", d11_tiocsti }, { "D13", d13_setuid }, { "D14", d14_borrow },
	{ "E1", e1_orphan }, { "E2", e2_nested }, { "E3", e3_filters }, { "E4", e4_listener }, { "E5", e5_tracer }, { "E6", e6_nonsense }, { "E7", e7_wedge }, { "E8", e8_flood }, { "E9", e9_control }, { "E9/renamed", e9_renamed },
	{ "E10", e10_forged }, { "E11", e11_hop }, { "E12", e12_ids }, { "E13", e13_deputy }, { "E13/rights", e13_rights }, { "E14", e14_credentials }, { "E15", e15_sockets }, { "E16", e16_numbers }, { "E17", e17_early }, { "E18", e18_revoked }, { "E18/hidden", e18_hidden }, { "E19", e19_again }, { "DUMPABLE", f1_dumpable },
};

/* A row's own trick, or the one of what comes before the slash. */
static trick *find(const char *name)
{
	size_t row = strcspn(name, "/");
	for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++)
		if (strcmp(tricks[i].name, name) == 0)
			return tricks[i].run;
	for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++)
		if (strlen(tricks[i].name) == row && strncmp(tricks[i].name, name, row) == 0)
			return tricks[i].run;
	fprintf(stderr, "escape: no row %s\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "ring-parent") == 0)
		ring_parent(argv + 2);
	if (argc > 2 && strcmp(argv[1], "ring-keeper") == 0)
		ring_keeper(argv + 2);
	if (argc > 3 && strcmp(argv[1], "inside") == 0)
		inside(argv + 2);
	if (argc == 2 && strcmp(argv[1], "euid") == 0) {
		printf("euid %d\n", geteuid());
		return 0;
	}
	if (argc != 4)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	allowed = target(argv[2]);
	denied = target(argv[3]);
	if (getenv("ESCAPE_WIRE")) {
		on_wire = 1;
		inet_pton(AF_INET, "10.77.0.2", &allowed.v4.sin_addr);
		inet_pton(AF_INET, "10.77.0.3", &denied.v4.sin_addr);
		inet_pton(AF_INET6, "fd77::2", &allowed.v6.sin6_addr);
		inet_pton(AF_INET6, "fd77::3", &denied.v6.sin6_addr);
	}
	if (strcmp(argv[1], "plain") == 0) {
		plain();
		return 0;
	}
	if (strcmp(argv[1], "victim") == 0) {
		victim();
		return 0;
	}
	if (strcmp(argv[1], "again") == 0) {
		again(&denied);
		return 0;
	}
	trick *run = find(argv[1]);
	plain();
	run(&denied);
	run(&allowed);
	plain();
	dprintf(1, "DONE\n");
	return 0;
}
