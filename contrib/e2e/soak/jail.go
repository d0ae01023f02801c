package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// jailApp is whose rules apply to most jails.
const jailApp = "soaked"

// jail is a program of this one's under netjail.
type jail struct {
	w    *world
	cmd  *exec.Cmd
	in   io.WriteCloser
	life *os.File // closed: everything in the jail ends
	done chan struct{}

	mu    sync.Mutex
	good  map[string]time.Time // when the latest connect began that was made, by destination
	tries map[string]int       // by destination and outcome
	said  []string             // the latest lines that are not of traffic
	err   strings.Builder      // what netjail said
}

// jailed starts a program in a jail. It may be killed before it says anything.
func (w *world) jailed(app string, flags ...string) (*jail, error) {
	return w.jailedBy(w.netjail, app, flags...)
}

func (w *world) jailedBy(netjail, app string, flags ...string) (*jail, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	j := &jail{w: w, done: make(chan struct{}), good: make(map[string]time.Time), tries: make(map[string]int)}
	args := append([]string{"--as", app, "--keep-fd", strconv.Itoa(life)}, flags...)
	if w.guard != "auto" {
		args = append(args, "--guard", w.guard)
	}
	j.cmd = w.commandOf(netjail, append(args, "--", self, "inner:program")...)
	r, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	j.life, j.cmd.ExtraFiles = end, []*os.File{r}
	if j.in, err = j.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Not StdoutPipe, which Wait closes: some go on when netjail has ended.
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	says, stderr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	j.cmd.Stdout, j.cmd.Stderr = stdout, stderr
	err = j.cmd.Start()
	stdout.Close()
	stderr.Close()
	if err != nil {
		return nil, err
	}
	go j.hear(out)
	go j.read(says)
	go func() {
		_ = j.cmd.Wait()
		close(j.done)
	}()
	return j, nil
}

// hear takes what the program says.
func (j *jail) hear(out *os.File) {
	defer out.Close()
	for in := bufio.NewScanner(out); in.Scan(); {
		line := in.Text()
		words := strings.Fields(line)
		j.mu.Lock()
		if len(words) == 4 && words[0] == "traffic" {
			begun, _ := strconv.ParseInt(words[2], 10, 64)
			j.tries[words[1]+" "+words[3]]++
			if at := time.Unix(0, begun); words[3] == "ok" && at.After(j.good[words[1]]) {
				j.good[words[1]] = at
			}
		} else if j.said = append(j.said, line); len(j.said) > 4096 {
			j.said = j.said[1024:]
		}
		j.mu.Unlock()
	}
}

// read takes what netjail says.
func (j *jail) read(says *os.File) {
	defer says.Close()
	buf := make([]byte, 4096)
	for {
		n, err := says.Read(buf)
		j.mu.Lock()
		if j.err.Len() < 1<<16 {
			j.err.Write(buf[:n])
		}
		j.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// tell tells the program something.
func (j *jail) tell(words ...string) error {
	_, err := io.WriteString(j.in, strings.Join(words, " ")+"\n")
	return err
}

// reply waits for a line that begins with a word, and returns what follows.
func (j *jail) reply(ctx context.Context, word string, limit time.Duration) (rest []string, err error) {
	err = within(ctx, limit, "the program says "+word, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		for i, line := range j.said {
			if words := strings.Fields(line); len(words) > 0 && words[0] == word {
				rest = words[1:]
				j.said = append(j.said[:i:i], j.said[i+1:]...)
				return true
			}
		}
		return false
	})
	if err != nil {
		err = fmt.Errorf("%w; netjail said: %q", err, j.stderr())
	}
	return rest, err
}

// do tells the program something and waits for its reply.
func (j *jail) do(ctx context.Context, limit time.Duration, words ...string) ([]string, error) {
	if err := j.tell(words...); err != nil {
		return nil, err
	}
	return j.reply(ctx, words[0], limit)
}

func (j *jail) stderr() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err.String()
}

// since returns when the latest connect to a destination began that was made.
func (j *jail) since(dest string) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.good[dest]
}

// outcomes adds up what the program says of its attempts.
func (j *jail) outcomes(of func(dest string) bool) (ok, failed int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for k, n := range j.tries {
		switch dest, what, _ := strings.Cut(k, " "); {
		case !of(dest):
		case what == "ok":
			ok += n
		default:
			failed += n
		}
	}
	return ok, failed
}

// ended waits for netjail's own end.
func (j *jail) ended(limit time.Duration) error {
	select {
	case <-j.done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d does not end", j.cmd.Process.Pid)
	}
}

// end ends the program and what it has started, and netjail with it.
func (j *jail) end() error {
	j.life.Close()
	j.in.Close()
	err := j.ended(patience)
	if err != nil {
		_ = syscall.Kill(j.cmd.Process.Pid, syscall.SIGKILL)
	}
	return err
}

// children lists the processes below one, see proc_pid_task_tid_children(5).
func children(pid int) (list []int) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		for _, field := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}
