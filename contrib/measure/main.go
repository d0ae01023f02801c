// Command measure measures what netjail costs, side by side with what there is
// besides it, and prints a table in Markdown. contrib/bench builds and runs it:
//
//	measure -netjail BINARY [-rounds N] [-only REGEXP] [-guard KIND]...
//	measure -netjail BINARY -smoke
//
// Machines are noisy: whatever is compared takes turns, many short ones, and a
// ratio is that of neighbours. The table says which half of the ratios lies in the
// middle, and their median; an aim is met, or missed, if all of that half is, and
// the first row says how noisy it was. Where -smoke fails the fault is netjail's: it counts
// and takes no time.
//
// All traffic stays on loopback, which contrib/bench makes one of its own. As root
// it starts programs as an ordinary user, because netjail is for those.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "measure: error:", err)
		os.Exit(1)
	}
}

// sections are the parts of the table, in its order.
var sections = []struct {
	name    string
	measure func(*bench) []row
}{
	{"noise", control}, {"connect", connects}, {"tcp", tcp}, {"peers", peers}, {"calls", calls}, {"bulk", bulk}, {"datagrams", datagrams},
	{"unix", local}, {"start", start}, {"browsers", browsers}, {"crowd", crowd}, {"decisions", decisions},
	{"memory", memory}, {"names", lookups},
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	var c config
	flags.StringVar(&c.netjail, "netjail", "", "the `binary` that is measured")
	flags.StringVar(&c.user, "user", "netjail-test", "whom programs are started as")
	flags.IntVar(&c.rounds, "rounds", 60, "how often everything takes its turn")
	flags.Func("guard", "a `kind` of guard to measure under, in place of strict, landlock and nft", func(s string) error {
		c.guards = append(c.guards, s)
		return nil
	})
	only := flags.String("only", "", "measure the sections whose names match")
	smoke := flags.Bool("smoke", false, "count what is not noise, and fail where it is too much")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if c.netjail == "" || flags.NArg() > 0 {
		return errors.New("usage: measure -netjail BINARY; contrib/bench builds one")
	}
	b, err := newBench(c)
	if err != nil {
		return err
	}
	defer b.close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGINT, unix.SIGTERM)
	go func() {
		<-stop
		b.close() // what was started goes with it
		os.Exit(1)
	}()
	if *smoke {
		return b.smoke(out)
	}
	fmt.Fprintln(out, head)
	for _, s := range sections {
		if !chosen.MatchString(s.name) {
			continue
		}
		begin := time.Now()
		for _, r := range s.measure(b) {
			fmt.Fprintln(out, r)
		}
		fmt.Fprintf(os.Stderr, "measure: %s took %v\n", s.name, time.Since(begin).Round(time.Second))
	}
	fmt.Fprintf(out, "\n%s\n", where())
	return nil
}

// where says what it was measured on.
func where() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	var s unix.Sysinfo_t
	_ = unix.Sysinfo(&s)
	return fmt.Sprintf("Linux %s, %s, %d CPU, %s, %s; load %.1f at the end.", unix.ByteSliceToString(u.Release[:]), runtime.GOARCH, runtime.NumCPU(),
		runtime.Version(), time.Now().Format(time.DateOnly), float64(s.Loads[0])/(1<<16))
}
