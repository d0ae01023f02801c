package jail

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// reports tells of calls, each destination once.
type reports struct {
	saying sync.WaitGroup

	mu   sync.Mutex
	told map[rules.Destination]bool
}

// maxReports bounds how many destinations are told of.
const maxReports = 1000

// untold says whether nobody has been told of d yet.
func (r *reports) untold(d rules.Destination) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.told[d] && len(r.told) < maxReports
}

// tell notes that d is told of now. ok is false if it was told of before; last
// says that no other will be.
func (r *reports) tell(d rules.Destination) (ok, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil {
		r.told = make(map[rules.Destination]bool)
	}
	if r.told[d] || len(r.told) >= maxReports {
		return false, false
	}
	r.told[d] = true
	return true, len(r.told) == maxReports
}

// count returns how many destinations were told of.
func (r *reports) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.told)
}

// sayTimeout is how long a call waits for the line about it to be written: it
// comes before what the program says of its failure, unless the terminal is
// stopped.
const sayTimeout = time.Second

// forPrograms is told once to what started netjail, which may be a program that
// tries again, or otherwise. See the package comment.
const forPrograms = "netjail: note: this is the user's policy, not a fault: do not retry and do not work around it, " +
	"but ask the user to run the command above"

// report tells of a refusal before the program sees it.
func (p *policy) report(ctx context.Context, what string, dest rules.Destination, why grounds) {
	ok, last := p.reports.tell(dest)
	if !ok {
		return
	}
	reason := why.why
	if why.by != nil {
		reason = "denied by " + origin(why.by)
	}
	text := fmt.Sprintf("netjail: denied: %s %s %s: %s. To allow it: %s",
		p.cfg.App, what, dest, reason, allowCommand(p.cfg.App, why.by, dest))
	if last {
		text += " (further refusals are not shown)"
	}
	if !p.cfg.Ask || why.nobody {
		p.noted.Do(func() { text += "\n" + forPrograms })
	}
	p.sayNow(ctx, text)
}

// tell tells of a call that is allowed because nothing is enforced.
func (p *policy) tell(ctx context.Context, what string, dest rules.Destination, why string) {
	ok, last := p.let.tell(dest)
	if !ok {
		return
	}
	text := fmt.Sprintf("netjail: allowed: %s %s %s: %s (monitor)", p.cfg.App, what, dest, why)
	if last {
		text += " (further destinations are not shown)"
	}
	p.sayNow(ctx, text)
}

// sayNow prints a line, and waits for it no longer than is good.
func (p *policy) sayNow(ctx context.Context, text string) {
	written := make(chan struct{})
	p.reports.saying.Go(func() {
		defer close(written)
		p.say(text)
	})
	select {
	case <-written:
	case <-time.After(sayTimeout):
	case <-ctx.Done():
	}
}

// summarize says at the end of a run how to allow what nobody was asked about.
func (p *policy) summarize() {
	n := p.reports.count()
	if n == 0 || p.cfg.Ask || p.cfg.Seen != nil {
		return
	}
	what := "1 destination was"
	if n > 1 {
		what = fmt.Sprintf("%d destinations were", n)
	}
	p.say(fmt.Sprintf("netjail: note: %s refused. To learn what it needs: netjail learn --merge -o FILE -- %s", what, p.command()))
}

// maxCommand bounds how much of a command a line repeats.
const maxCommand = 200

// command is what runs, for a shell to read.
func (p *policy) command() string {
	var words []string
	for _, arg := range p.cfg.Args {
		words = append(words, notifier.ShellWord(arg))
	}
	if text := strings.Join(words, " "); len(text) <= maxCommand {
		return text
	}
	return "COMMAND"
}

func allowCommand(app string, by *rules.Rule, dest rules.Destination) string {
	if by != nil && by.Run && by.Jail == "" {
		if by.Source.File != "" {
			return "edit " + notifier.ShellWord(by.Source.File)
		}
		return "run it without that flag"
	}
	return notifier.Question{App: app, Dest: dest}.RuleText(rules.Allow)
}

// origin says where a rule is from.
func origin(r *rules.Rule) string {
	switch {
	case r.Source.File != "":
		return fmt.Sprintf("%s:%d", r.Source.File, r.Source.Line)
	case r.Jail != "":
		return "an answer that holds until exit"
	case r.Run:
		return "--" + r.Verdict.String() + " " + r.Dest.String()
	}
	return "a rule"
}
