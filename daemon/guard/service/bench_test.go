package service

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkThroughput sends what iperf3 can over the cable, from a program in no
// jail, with the guard and without, and from one in a jail.
func BenchmarkThroughput(b *testing.B) {
	s := newScene(b)
	server := exec.Command("nsenter", "-t", strconv.Itoa(s.world.cmd.Process.Pid), "-n", "iperf3", "-s", "-B", world4)
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	jailed, bare := s.jail(user1), s.supervisor(user1)
	bare.want(b, "ok", "start")
	jailed.want(b, "ok", "allow tcp %s:5201", world4)
	soon(b, "iperf3 listens", func() bool { return bare.do("v run iperf3 -c %s -t 1", world4) != "exit status 1" })
	measure := func(name string, a *agent) {
		b.Run(name, func(b *testing.B) {
			var bits float64
			for b.Loop() {
				var out struct {
					End struct {
						Received struct {
							Bits float64 `json:"bits_per_second"`
						} `json:"sum_received"`
					}
				}
				text := a.do("v run sh -c iperf3${IFS}-J${IFS}-c${IFS}%s${IFS}-t${IFS}1|tr${IFS}-d${IFS}'\\n'", world4)
				if err := json.Unmarshal([]byte(text), &out); err != nil {
					b.Fatalf("%v: %s", err, text)
				}
				bits = max(bits, out.End.Received.Bits)
			}
			b.ReportMetric(bits/1e9, "Gbit/s")
		})
	}
	measure("no jail, the guard runs", bare)
	measure("in a jail", jailed)
	jailed.want(b, "ok", "lead 127.0.0.1:5300 192.0.2.53:53")
	measure("in a jail that is led", jailed)
	measure("no jail, another is led", bare)
	jailed.stop()
	s.quit(unix.SIGTERM)
	time.Sleep(time.Second) // what the kernel still does of its own
	run(b, "nft", "flush", "ruleset")
	measure("no guard", bare)
}
