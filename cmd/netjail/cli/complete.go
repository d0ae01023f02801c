package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What may come next on a command line, for the scripts in completion/. They
// call "netjail __complete WORD...", which is cobra's, and get a line for each
// word that may be meant, a tab and a note behind it, and a line with a
// directive. A run that completes nothing pays nothing for all this.

// behindCommand is a directive of our own, a bit that cobra does not use: what
// comes next is the command's that is to run. The only line says how many words
// back that command is.
const behindCommand cobra.ShellCompDirective = 1 << 7

const (
	noFiles   = cobra.ShellCompDirectiveNoFileComp
	filesToo  = cobra.ShellCompDirectiveDefault
	inOrder   = noFiles | cobra.ShellCompDirectiveKeepOrder
	maxNote   = 100 // letters of a note
	maxOffers = 1000
)

// completer says what one word may be. args are the words before it, of its
// command.
type completer func(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective)

// completion completes one word, the last one of words.
type completion struct {
	app    *app
	words  []string
	silent bool // the daemon does not answer
}

func isCompletion(args []string) bool {
	return len(args) > 2 && (args[1] == cobra.ShellCompRequestCmd || args[1] == cobra.ShellCompNoDescRequestCmd)
}

// complete makes the commands below root complete their words: by what the
// usage line of each calls its arguments, so that a new command needs nothing.
func (a *app) complete(root *cobra.Command, words []string) {
	a.err = io.Discard // it would be printed into what somebody types
	root.SetErr(a.err)
	c := &completion{app: a, words: words}
	before := words[:len(words)-1]
	if found, rest, err := root.Find(before); err == nil && found == root && slices.Contains(rest, "--") {
		root.RemoveCommand(root.Commands()...) // netjail -- rules runs a program
	}
	c.wire(root)
}

func (c *completion) wire(cmd *cobra.Command) {
	forms := formsOf(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		offers, d := c.argument(cmd, forms, args, word)
		if len(args) == 0 { // a program that is called like a command of netjail's
			offers = slices.DeleteFunc(offers, func(name string) bool {
				return slices.ContainsFunc(cmd.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
			})
		}
		return offers, d
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { // help shows the name of a value without its quotes
		f.Usage = strings.ReplaceAll(f.Usage, "`", "")
	})
	for name, f := range flagWords {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		_ = cmd.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return f(c, args, word)
		})
	}
	for _, sub := range cmd.Commands() {
		c.wire(sub)
	}
}

// formsOf returns what the arguments of a command are called in its usage line,
// for each of the forms that it has.
func formsOf(cmd *cobra.Command) [][]string {
	forms := [][]string{nil}
	for _, w := range strings.Fields(cmd.Use)[1:] {
		w = strings.Trim(w, "[]")
		last := len(forms) - 1
		switch w {
		case "flags", "--", "":
		case "|":
			forms = append(forms, nil)
		default:
			forms[last] = append(forms[last], w)
		}
	}
	return forms
}

// argument completes an argument of cmd.
func (c *completion) argument(cmd *cobra.Command, forms [][]string, args []string, word string) (offers []cobra.Completion, d cobra.ShellCompDirective) {
	d = noFiles
	for _, form := range forms {
		name := argumentName(form, len(args))
		f := argumentWords(cmd, name)
		if f == nil {
			continue
		}
		list, how := f(c, args, word)
		offers = append(offers, list...)
		d = how
	}
	return offers, d
}

// argumentName returns what an argument is called, or "".
func argumentName(form []string, n int) string {
	switch last := len(form) - 1; {
	case n <= last:
		return strings.TrimSuffix(form[n], "...")
	case last >= 0 && strings.HasSuffix(form[last], "..."):
		return strings.TrimSuffix(form[last], "...")
	}
	return ""
}

// argumentWords returns what completes an argument that is called name: what
// the command has for itself, or its parent, or all commands.
func argumentWords(cmd *cobra.Command, name string) completer {
	switch {
	case name == "":
		return nil
	case name == strings.ToLower(name): // allow|deny|ask
		return fixed(inOrder, strings.Split(name, "|")...)
	}
	keys := []string{cmd.Name() + " " + name, name}
	if p := cmd.Parent(); p != nil {
		keys = slices.Insert(keys, 1, p.Name()+" "+name)
	}
	for _, key := range keys {
		if f := arguments[key]; f != nil {
			return f
		}
	}
	return nil
}

// fixed offers the same words every time, in their order.
func fixed(d cobra.ShellCompDirective, words ...string) completer {
	return func(_ *completion, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return beginning(word, words), d
	}
}

// beginning returns those of a list that begin with word, each with its note.
func beginning(word string, list []string) []cobra.Completion {
	var out []cobra.Completion
	for _, s := range list {
		if strings.HasPrefix(s, word) && len(out) < maxOffers {
			out = append(out, s)
		}
	}
	return out
}
