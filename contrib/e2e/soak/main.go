// Command soak breaks netjail, and what netjail needs, at random moments, and
// counts what comes through meanwhile. contrib/soak builds and starts it.
//
//	soak [-netjail FILE] [-seed N] [flags] [SCENARIO]
//
// Without a scenario it mixes all of them for a while. Counts are made where
// packets arrive, not from what programs say. They are its last lines; those of
// what must never happen come at the very end, and make it exit with 1. The
// choices that it makes come from the seed, which it prints; what the machine
// makes of them does not.
//
// It makes traffic on loopback only, and everything that it starts ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	netjail string // the binary
	old     string // an older one
	seed    uint64
	guard   string // of the jails
	hooks   hooks

	n        int           // rounds of each part
	duration time.Duration // of the load, and of the mix

	programs    int
	connections int
	rate        int
	garbage     int
	questions   int
	forks       int
}

// hooks are commands by which a part that this program does not know is killed,
// and brought back.
type hooks struct{ kill, back string }

// scenarios, in the order in which people read of them.
var scenarios = []struct {
	name, what string
	run        func(*world, context.Context) error
}{
	{"kill", "kill -9 each part that is named behind it (all), -n times", (*world).killAll},
	{"load", "many programs, connections and questions, and what is left of them", (*world).load},
	{"disk", "full, read-only and closed disks under the daemon", (*world).disk},
	{"cut", "power cuts while rules are written (root)", (*world).cut},
	{"clients", "slow, silent, huge and senseless clients of the daemon", (*world).clients},
	{"skew", "supervisors and daemons of different ages (-old FILE)", (*world).skew},
	{"mix", "all of it at random, for a while", (*world).mix},
}

func main() {
	if len(os.Args) > 1 {
		if inner, ok := inners[os.Args[1]]; ok {
			os.Exit(inner(os.Args[2:]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// inners are the programs that this one starts: itself by other names.
var inners = map[string]func(args []string) int{
	"inner:program": program,
	"inner:notify":  notificationService,
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.netjail, "netjail", os.Getenv("NETJAIL_BIN"), "the binary; default $NETJAIL_BIN")
	f.StringVar(&o.old, "old", "", "an older binary, for skew")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the choices")
	f.StringVar(&o.guard, "guard", "auto", "of the jails")
	f.StringVar(&o.hooks.kill, "kill", "", "a command that kills the part called hook")
	f.StringVar(&o.hooks.back, "back", "", "a command that brings it back, and returns when it serves")
	f.IntVar(&o.n, "n", 100, "rounds of each part")
	f.DurationVar(&o.duration, "for", 0, "how long the load (default 20s) or the mix (10m) takes")
	f.IntVar(&o.programs, "programs", 50, "of the load, each in a jail of its own")
	f.IntVar(&o.connections, "connections", 1000, "of the load, open at once")
	f.IntVar(&o.rate, "rate", 200, "of the load, connects per second")
	f.IntVar(&o.garbage, "garbage", 100_000, "of the load, senseless calls")
	f.IntVar(&o.questions, "questions", 1000, "of the load, that nobody answers")
	f.IntVar(&o.forks, "forks", 500, "of the load, processes that connect at once")
	f.Usage = func() {
		fmt.Fprintln(stderr, "usage: soak [flags] [SCENARIO [PART...]]")
		for _, s := range scenarios {
			fmt.Fprintf(stderr, "  %-8s %s\n", s.name, s.what)
		}
		fmt.Fprintf(stderr, "parts: %s\nflags:\n", strings.Join(partNames(), ", "))
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return 2
	}
	name := "mix"
	if f.NArg() > 0 {
		name = f.Arg(0)
	}
	for _, s := range scenarios {
		if s.name == name {
			return perform(ctx, o, s.run, f.Args(), stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "soak: there is no scenario %q\n", name)
	return 2
}

// perform runs one scenario in a world of its own, and prints what it counted.
func perform(ctx context.Context, o options, do func(*world, context.Context) error, words []string, stdout, stderr io.Writer) int {
	w, err := newWorld(o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
		return 2
	}
	if len(words) > 1 {
		w.words = words[1:]
	}
	fmt.Fprintf(stdout, "soak: uid %d, seed %d, guard %s\n", os.Getuid(), o.seed, o.guard)
	began := time.Now()
	err = do(w, ctx)
	w.close()
	if err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		w.wrong(brokeDown, "%v", err)
	}
	fmt.Fprintf(stdout, "soak: %s took %s\n", strings.Join(words, " "), time.Since(began).Round(time.Second))
	if w.print(stdout) > 0 {
		return 1
	}
	return 0
}
