package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
)

const answerLong = `Answer an open question, or one that nobody answered (netjail pending).

The words say, in any order, what is decided:
  allow, deny
  host (default)   what was asked: the name, if one is known, and the port
  address          the address instead of its name
  domain           the whole domain that the name is below
  any              every destination
  once (default), exit (until the app exits), 30m, 2h, 7d, always

A summary of many questions takes "allow", "deny" (once or exit), or "review" to
have them asked one by one. The calls of a missed question have failed: an
answer to it is about the next time, so it takes a time or "always".`

func (a *app) answerCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "answer ID WORD...",
		Short:   "Answer a question from any terminal",
		Long:    answerLong,
		Example: "  netjail answer 1a2b3c4d allow always\n  netjail answer 1a deny domain 7d",
		Args:    hinting(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := a.findQuestion(args[0])
			if err != nil {
				return err
			}
			choice, err := q.ParseAnswer(args[1:])
			if err != nil {
				return hint(err, "netjail answer --help")
			}
			in := api.QuestionAnswer{
				ID: q.ID, Verdict: choice.Answer.Verdict, Lifetime: choice.Answer.Lifetime, Scope: choice.Scope,
				Review: choice.Answer.Review, Through: choice.Answer.Through,
			}
			var done api.QuestionDecided
			running, err := a.askRunning(api.OpQuestionAnswer, in, &done)
			var said *api.Error
			switch {
			case err == nil && !running, errors.As(err, &said) && said.Code == api.CodeNotFound:
				return noQuestion(args[0])
			case err != nil:
				return err
			}
			a.showDecided(&done)
			return nil
		},
	}
}

// findQuestion returns the question whose id begins so.
func (a *app) findQuestion(id string) (notifier.Question, error) {
	var list api.Questions
	if _, err := a.askRunning(api.OpQuestionList, nil, &list); err != nil {
		return notifier.Question{}, err
	}
	found, ok := list.Find(id)
	switch {
	case len(found) > 1:
		return notifier.Question{}, hint(fmt.Errorf("%d questions begin with %s", len(found), notifier.Clean(id, 40)), "netjail pending")
	case !ok:
		return notifier.Question{}, noQuestion(id)
	}
	return found[0], nil
}

func noQuestion(id string) error {
	return failed{hint(fmt.Errorf("no question %s", notifier.Clean(id, 40)), "netjail pending"), exitNo}
}

// showDecided says what an answer has decided.
func (a *app) showDecided(d *api.QuestionDecided) {
	switch {
	case d.Answer.Review:
		fmt.Fprintf(a.out, "%s: its questions are asked one by one\n", d.App)
		return
	case len(d.Items) == 0:
		fmt.Fprintf(a.out, "%s, %s: %s\n", d.App, d.Answer.Dest, d.Answer.Done())
	}
	for _, dest := range d.Items {
		fmt.Fprintf(a.out, "%s, %s: %s\n", d.App, dest, d.Answer.Done())
	}
}
