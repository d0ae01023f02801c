// Package doctor finds out what netjail can do on this machine, by doing it.
//
//	report := doctor.Examine(ctx, doctor.Here())
//	for _, r := range report.Probes {
//		fmt.Println(r.State, r.Name, r.Detail)
//	}
//
// The probe that counts runs a real jail: a program below it connects to a
// socket of the doctor's own. The others say why that fails, or what there is
// less of. No probe compares versions of the kernel, none sends anything off this
// machine, and none leaves more behind than a question would: a directory for
// the daemon's socket, a notification service that the bus started. Why a
// program in a jail is refused something the doctor does not say: netjail
// explain does.
package doctor

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
)

// State says how a probe went. Its zero value fails.
type State uint8

// The states of a probe.
const (
	Fails  State = iota // and so no jail can be run
	Lost                // a jail can be run, with less
	Absent              // nothing that netjail does today is lost by it
	OK
)

var states = [...]string{Fails: "fails", Lost: "lost", Absent: "absent", OK: "ok"}

func (s State) String() string { return states[s] }

// MarshalText is for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Result is what a probe found.
type Result struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Lost   string `json:"lost,omitempty"` // what there is not; of one that is absent: what it would give
	Fix    string `json:"fix,omitempty"`  // what to type, or to do
}

func ok(detail string) Result { return Result{State: OK, Detail: detail} }

func lost(detail, what, fix string) Result {
	return Result{State: Lost, Detail: detail, Lost: what, Fix: fix}
}

func fails(detail, fix string) Result {
	return Result{State: Fails, Detail: detail, Lost: "all of it: netjail can run no program here", Fix: fix}
}

func absent(detail, gives, fix string) Result {
	return Result{State: Absent, Detail: detail, Lost: gives, Fix: fix}
}

// Report is what the doctor says.
type Report struct {
	Probes  []Result `json:"probes"`
	Verdict string   `json:"verdict"` // works, less or cannot
	Guard   string   `json:"guard"`   // of a jail, as netjail status names it
	Covers  []string `json:"covers"`  // what that guard refuses whatever filter and supervisor do
	Behind  string   `json:"-"`       // both, for people
}

// The verdicts of a report.
const (
	Works  = "works"
	Less   = "less"
	Cannot = "cannot"
)

// verdict is the worst of the states.
func verdict(list []Result) string {
	has := func(s State) bool { return slices.ContainsFunc(list, func(r Result) bool { return r.State == s }) }
	switch {
	case has(Fails):
		return Cannot
	case has(Lost):
		return Less
	}
	return Works
}

// System is where the doctor looks. Its fields are set by tests, and by Here.
type System struct {
	Root string // of the files that are read
	Env  []string
	Wait time.Duration // for whatever may not answer
}

// Here is this process's system.
func Here() System { return System{Root: "/", Env: os.Environ(), Wait: 1500 * time.Millisecond} }

// probe tries one thing.
type probe struct {
	name string
	slow bool // it waits for processes that this one starts
	try  func(context.Context, *visit) Result
}

// grace is what a probe whose time is up has to say so itself.
const grace = 200 * time.Millisecond

// slowWait bounds probes that wait for what always comes, unless the kernel
// itself hangs: a machine may be busy.
const slowWait = 10 * time.Second

// visit is one examination of a system.
type visit struct {
	System
	inside bool             // this process is in a jail already
	jail   func() jailTrial // what became of a jail
}

var probes = []probe{
	{name: "jail", slow: true, try: tryJail},
	{name: "descriptors", slow: true, try: tryGetfd},
	{name: "memory", slow: true, try: tryMemory},
	{name: "yama", try: tryYama},
	{name: "killable", try: tryKillable},
	{name: "wake-up", slow: true, try: tryWakeUp},
	{name: "threads", try: tryThreads},
	{name: "landlock", slow: true, try: tryLandlock},
	{name: "others", slow: true, try: tryOthers},
	{name: "outer", try: tryOuter},
	{name: "container", try: tryContainer},
	{name: "wsl", try: tryWSL},
	{name: "userns", slow: true, try: tryUserns},
	{name: "runtime", try: tryRuntime},
	{name: "rules", try: tryRules},
	{name: "notification", try: tryNotification},
	{name: "terminal", try: tryTerminal},
	{name: "servers", try: tryServers},
	{name: "nsswitch", try: tryNsswitch},
	{name: "pasta", try: tryPasta},
	{name: "tun", try: tryTun},
	{name: "nft", try: tryGuard},
	{name: "cgroup", try: tryCgroup},
}

// Examine makes all probes, side by side, and waits for each no longer than it
// has time. One that does not come back is left behind, until the process ends.
func Examine(ctx context.Context, s System) Report {
	v := &visit{System: s, inside: interpose.Inside()}
	v.jail = sync.OnceValue(func() jailTrial { return runTrial(ctx, v.inside) })
	r := Report{Probes: make([]Result, len(probes)), Covers: []string{}}
	if g, err := guard.Choose(guard.Auto, guard.Leave{}, guard.Here("")); err == nil {
		r.Guard, r.Covers, r.Behind = string(g.Kind), append(r.Covers, g.Covers...), g.String()
	}
	var wg sync.WaitGroup
	for i := range probes {
		wg.Go(func() { r.Probes[i] = probes[i].run(ctx, v) })
	}
	wg.Wait()
	r.Verdict = verdict(r.Probes)
	return r
}

func (p *probe) run(ctx context.Context, v *visit) Result {
	wait := v.Wait
	if p.slow {
		wait = slowWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan Result, 1)
	go func() { done <- p.try(ctx, v) }()
	var r Result
	select {
	case r = <-done:
	case <-time.After(wait + grace): // it has noticed that its time was up, or never will
		r = lost("it does not answer within "+wait.String(), "whatever it is for", "")
		if p.name == "jail" {
			r = fails(r.Detail, "")
		}
	}
	r.Name = p.name
	r.Detail, r.Fix = notifier.Clean(r.Detail, maxText), notifier.Clean(r.Fix, maxText)
	return r
}

// maxText bounds what is said of one thing: names in it may be anybody's.
const maxText = 300
