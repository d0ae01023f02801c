package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/rules"
)

// commands completes a command to run: its name, then what is its own.
func commands(c *completion, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return []string{strconv.Itoa(c.behind(args))}, behindCommand
	}
	if strings.Contains(word, "/") {
		return nil, filesToo
	}
	if word == "" {
		return c.usual(), noFiles
	}
	return executables(word), noFiles
}

// behind returns how many words there are from the command on, the last one
// not among them. Cobra drops a word before the last that it takes for a flag
// of netjail's.
func (c *completion) behind(args []string) int {
	typed := c.words[:len(c.words)-1]
	if tail := typed[max(0, len(typed)-len(args)):]; slices.Equal(tail, args) {
		return len(args)
	}
	return len(args) + 1
}

// usual offers what netjail has run before: all there is to run would be
// thousands.
func (c *completion) usual() []string {
	return slices.DeleteFunc(c.apps(), func(app string) bool {
		_, err := find(app)
		return err != nil
	})
}

// programs offers executables that are an app's name.
func programs(_ *completion, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if word == "" {
		return nil, noFiles
	}
	return slices.DeleteFunc(executables(word), func(name string) bool { return rules.CheckAppName(name) != nil }), noFiles
}

// executables returns the names in $PATH that begin with word.
func executables(word string) []string {
	var names []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // what lies in the working directory is not run
		}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name := e.Name()
			if len(names) < maxOffers && strings.HasPrefix(name, word) && printable(name) && executable(filepath.Join(dir, name)) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil
}

// printable says whether a name can be one line of offers.
func printable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}
