package manual

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands is the reference of what is below root. Hidden commands are not in
// it, and neither are those that cobra adds while it runs.
func commands(root *cobra.Command) string {
	var b strings.Builder
	for _, c := range root.Commands() {
		if c.Hidden {
			continue
		}
		if c.Runnable() && (c.Long != "" || !c.HasSubCommands()) { // else it shows its help
			command(&b, c)
		}
		b.WriteString(commands(c))
	}
	return b.String()
}

func command(b *strings.Builder, c *cobra.Command) {
	use := usage(c.Parent().CommandPath() + " " + c.Use)
	fmt.Fprintf(b, ".SS %s\n", use)
	for _, alias := range c.Aliases {
		fmt.Fprintf(b, "Also \\fB%s\\fP.\n.PP\n", escape(c.Parent().CommandPath()+" "+alias))
	}
	text := c.Long
	if text == "" {
		text = c.Short
	}
	b.WriteString(prose(text))
	b.WriteString(flags(c))
	if c.Example != "" {
		b.WriteString(".PP\nFor example:\n" + literal(strings.Split(c.Example, "\n")))
	}
}

// flags is a list of a command's flags.
func flags(c *cobra.Command) string {
	var b strings.Builder
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		what, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(&b, "\\fB\\-%s\\fP, ", f.Shorthand)
		}
		fmt.Fprintf(&b, "\\fB%s\\fP", escape("--"+f.Name))
		if what != "" {
			fmt.Fprintf(&b, " \\fI%s\\fP", escape(strings.ToUpper(what)))
		}
		b.WriteString("\n" + line(sentence(usage)))
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			fmt.Fprintf(&b, "The default is %s.\n", escape(f.DefValue))
		}
	})
	return b.String()
}

// sentence makes one of a line of help.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

var placeholder = regexp.MustCompile(`\b[A-Z][A-Z0-9]+\b`)

// usage is a usage line: what is typed as it stands is bold, what stands for
// something else is in italics.
func usage(s string) string {
	var words []string
	for _, w := range strings.Fields(strings.ReplaceAll(s, "[flags]", "[FLAGS]")) {
		switch {
		case placeholder.MatchString(w):
			w = placeholder.ReplaceAllString(escape(w), `\fI$0\fP`)
		case w != "|":
			w = `\fB` + escape(w) + `\fP`
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}
