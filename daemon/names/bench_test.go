package names

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// roleEnv makes the test binary the server or the program of a benchmark: a
// lookup is between processes.
const (
	roleEnv = "NETJAIL_NAMES_ROLE"
	awayEnv = "NETJAIL_NAMES_AWAY" // how long the server takes
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "server":
		must(beServer())
	case "program":
		must(beProgram())
	default:
		os.Exit(m.Run())
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// beServer answers each query with one address until standard input ends.
func beServer() error {
	away, err := time.ParseDuration(os.Getenv(awayEnv))
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	fmt.Println(c.LocalAddr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	for buf := make([]byte, 65535); ; {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		if p, err := parseQuery(buf[:n]); err == nil {
			time.Sleep(away)
			_, _ = c.WriteToUDPAddrPort(p.local([]byte{192, 0, 2, 1}), from)
		}
	}
}

// beProgram looks a name up at two servers, pair by pair, in blocking calls as
// libc does, and prints the times in microseconds.
func beProgram() error {
	in := bufio.NewReader(os.Stdin)
	var to [2]string
	var n int
	if _, err := fmt.Fscan(in, &to[0], &to[1], &n); err != nil {
		return err
	}
	var fds [2]int
	for i := range to {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		a := netip.MustParseAddrPort(to[i])
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}); err != nil {
			return err
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		in4 := sa.(*unix.SockaddrInet4)
		fmt.Println(netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)))
		fds[i] = fd
	}
	if _, err := fmt.Fscan(in, new(string)); err != nil { // registered
		return err
	}
	query, err := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA).Pack()
	if err != nil {
		return err
	}
	var buf [512]byte
	out := bufio.NewWriter(os.Stdout)
	for range n {
		for i, fd := range fds {
			begin := time.Now()
			if _, err := unix.Write(fd, query); err != nil {
				return err
			}
			if _, err := unix.Read(fd, buf[:]); err != nil {
				return err
			}
			fmt.Fprintf(out, "%d %d\n", i, time.Since(begin).Nanoseconds())
		}
	}
	return out.Flush()
}

func play(b *testing.B, role string) (io.Writer, *bufio.Reader) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	return stdin, bufio.NewReader(stdout)
}

func readAddr(b *testing.B, r *bufio.Reader) netip.AddrPort {
	line, err := r.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return netip.MustParseAddrPort(strings.TrimSpace(line))
}

// BenchmarkLookup compares lookups through the resolver with lookups at the
// server: program, resolver and server are three processes, as they are in life.
func BenchmarkLookup(b *testing.B) {
	b.Run("here", func(b *testing.B) { benchmarkLookup(b, 0) })
	b.Run("1ms away", func(b *testing.B) { benchmarkLookup(b, time.Millisecond) })
}

func benchmarkLookup(b *testing.B, away time.Duration) {
	b.Setenv(awayEnv, away.String())
	_, hello := play(b, "server")
	server := readAddr(b, hello)
	r := New(Config{
		Policy: allowAll, Map: new(Map), Meter: new(Meter),
		Upstreams: func() []netip.AddrPort { return []netip.AddrPort{server} },
	})
	defer r.Close()
	via, err := r.Addr("udp", false)
	if err != nil {
		b.Fatal(err)
	}
	const warm = 100
	ask, told := play(b, "program")
	fmt.Fprintln(ask, server, via, warm+b.N)
	readAddr(b, told)
	r.Expect("udp", readAddr(b, told), server)
	b.ResetTimer()
	fmt.Fprintln(ask, "go")
	var took [2][]int
	for i := range 2 * (warm + b.N) {
		var who, ns int
		if _, err := fmt.Fscan(told, &who, &ns); err != nil {
			b.Fatal(err)
		}
		if i >= 2*warm {
			took[who] = append(took[who], ns)
		}
	}
	b.StopTimer()
	for i := range took {
		slices.Sort(took[i])
	}
	direct, led := float64(took[0][b.N/2]), float64(took[1][b.N/2])
	b.ReportMetric(direct/1e3, "direct-µs")
	b.ReportMetric(led/1e3, "led-µs")
	b.ReportMetric(led/direct, "ratio")
}
