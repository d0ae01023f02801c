package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// Limits on what a client may ask. Beyond them the connection ends.
const (
	maxRequest    = 8 << 20          // ten thousand rules to import, or a rule file
	refuseTimeout = time.Second      // for the first request of a client that is refused
	hurryTimeout  = 10 * time.Second // for the first request of any, and the end of each
	maxClients    = 1024             // connections that are no jail's
	maxUnderWay   = 8192             // requests of a jail that have no reply yet: each of its waiting calls has one
	maxAtOnce     = 256              // requests of anybody else
)

// converse answers one client until it leaves.
func (s *server) converse(ctx context.Context, c *api.Conn, who peer) {
	ctx, cancel := context.WithCancel(ctx)
	var j *jail
	var underWay sync.WaitGroup
	slots := make(chan struct{}, maxUnderWay)
	var running requests
	watching := false
	defer func() {
		cancel()
		c.Close()
		underWay.Wait()
		if j != nil {
			s.leave(j)
		}
	}()
	for {
		m, err := c.Receive()
		if err != nil {
			if err != io.EOF {
				s.log.Debug("client", "pid", who.pid, "error", err)
			}
			return
		}
		if m.V != api.Version {
			s.reply(c, m, nil, &api.Error{Text: fmt.Sprintf("version %d is not spoken here, %d is", m.V, api.Version), Hint: "run the same netjail everywhere", Code: api.CodeInvalid})
			return
		}
		if m.Op == api.OpRegister {
			if j != nil {
				return
			}
			j, err = s.register(c, m, who.pid)
			if err != nil {
				s.reply(c, m, nil, err)
			}
			continue
		}
		if m.Op == api.OpCancel {
			if id, err := decode[uint64](m); err == nil {
				running.cancel(id)
			}
			continue
		}
		if m.Op == api.OpQuestionWatch && !watching {
			watching = true
			underWay.Go(func() { s.watch(ctx, c, who, m) })
			continue
		}
		if m.Op == api.OpFlows {
			// In order, and a reply to each of many parts would only take time.
			if _, err := s.handle(ctx, j, who, m); err != nil {
				s.log.Debug("connections", "pid", who.pid, "error", err)
			}
			continue
		}
		if limit := atOnce(j); len(slots) >= limit {
			s.log.Warn("client asks too much at once", "pid", who.pid, "limit", limit)
			return
		}
		slots <- struct{}{}
		ctx, done := running.begin(ctx, m.ID)
		underWay.Go(func() {
			defer func() { <-slots }()
			defer done()
			data, err := s.handle(ctx, j, who, m)
			s.reply(c, m, data, err)
		})
	}
}

// atOnce bounds the requests of a connection that have no reply yet.
func atOnce(j *jail) int {
	if j == nil {
		return maxAtOnce
	}
	return maxUnderWay
}

// requests are those of one connection that are under way.
type requests struct {
	mu sync.Mutex
	m  map[uint64]context.CancelFunc
}

// begin returns a context for a request; done has to be called at its end.
func (r *requests) begin(ctx context.Context, id uint64) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[uint64]context.CancelFunc)
	}
	r.m[id] = cancel
	return ctx, func() {
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.m, id)
	}
}

// cancel ends a request that nobody waits for any more.
func (r *requests) cancel(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.m[id]; cancel != nil {
		cancel()
	}
}

func (s *server) reply(c *api.Conn, to *api.Message, data any, err error) {
	m := &api.Message{V: api.Version, ID: to.ID}
	if err != nil {
		m.Error = asError(err)
	} else if m.Data, err = api.Encode(data); err != nil {
		m.Error = asError(fmt.Errorf("encode reply: %w", err))
	}
	_ = c.Send(m) // a client that is gone needs no reply
}

// invalid is a request that makes no sense.
func invalid(err error) error { return &api.Error{Text: err.Error(), Code: api.CodeInvalid} }

func decode[T any](m *api.Message) (T, error) {
	var v T
	if err := json.Unmarshal(m.Data, &v); err != nil {
		return v, invalid(fmt.Errorf("%s: %w", m.Op, err))
	}
	return v, nil
}

// handle performs one request. j is the connection's jail, or nil.
func (s *server) handle(ctx context.Context, j *jail, who peer, m *api.Message) (any, error) {
	switch ofJail := strings.HasPrefix(m.Op, "jail."); {
	case ofJail && j == nil:
		return nil, &api.Error{Text: m.Op + ": not a supervisor", Code: api.CodeRefused}
	case ofJail:
		return s.handleJail(ctx, j, m)
	case who.supervisor:
		return nil, errOnlyJail(m.Op)
	}
	switch m.Op {
	case api.OpRulesList:
		return s.rulesList(ctx, m)
	case api.OpRulesAdd:
		return s.rulesAdd(m)
	case api.OpRulesRemove:
		return s.rulesRemove(m)
	case api.OpExplain:
		return s.explain(m)
	case api.OpRulesEnable, api.OpRulesText, api.OpRulesWrite, api.OpRulesImport, api.OpRulesDiff, api.OpRulesUndo:
		return s.ruleFiles(m)
	case api.OpReload:
		if err := s.store.load(); err != nil {
			return nil, err
		}
		s.pushAll(nil)
		return api.RuleList{Rules: api.FromRules(s.store.all())}, nil
	case api.OpStatus:
		return s.status(), nil
	case api.OpHistory, api.OpHistoryQuery, api.OpHistorySummary:
		return s.queryHistory(ctx, m)
	case api.OpQuestionList, api.OpQuestionAnswer, api.OpQuestionClear:
		return s.question(m)
	case api.OpConnections:
		return s.connections(ctx), nil
	case api.OpEnd, api.OpStop:
		return nil, s.control(ctx, m)
	case api.OpBlocklistAdd, api.OpBlocklistRemove, api.OpBlocklistUpdate, api.OpBlocklistList, api.OpBlocklistTest:
		return s.blocklist(m)
	}
	return nil, errUnknown(m.Op)
}

// handleJail performs one request of a supervisor for its jail.
func (s *server) handleJail(ctx context.Context, j *jail, m *api.Message) (any, error) {
	switch m.Op {
	case api.OpAsk:
		return s.ask(ctx, j, m)
	case api.OpTerminal:
		return nil, j.terminalAnswer(m)
	case api.OpSucceed:
		return nil, s.succeed(j, m)
	case api.OpReport:
		return nil, s.report(j, m)
	case api.OpFlows:
		return nil, j.tasks.flows(m)
	case api.OpDone:
		return nil, j.tasks.done(m)
	}
	return nil, errUnknown(m.Op)
}

// errUnknown refuses what there is not.
func errUnknown(op string) error {
	return &api.Error{Text: fmt.Sprintf("unknown request %q", op), Code: api.CodeInvalid}
}

// errOnlyJail refuses what a supervisor has no business with.
func errOnlyJail(op string) error {
	return &api.Error{Text: op + ": a supervisor speaks for its jail only", Code: api.CodeRefused}
}

// usageWait is how long a list of rules waits for how often they were used.
const usageWait = 500 * time.Millisecond

func (s *server) rulesList(ctx context.Context, m *api.Message) (any, error) {
	f, err := decode[api.RuleFilter](m)
	if err != nil {
		return nil, err
	}
	if err := s.store.trouble(); err != nil {
		return nil, err
	}
	var diffs []api.FileDiff
	var looking sync.WaitGroup
	looking.Go(func() { diffs, _ = s.store.differences() }) // a directory that cannot be read does not differ
	all := s.store.all()
	list := api.RuleList{Rules: make([]api.Rule, 0, len(all)), Brief: f.Brief}
	shadowed := make(map[rules.Source]string)
	for _, sh := range rules.Shadowed(all, time.Now()) {
		if sh.Rule.Source != (rules.Source{}) {
			shadowed[sh.Rule.Source] = sh.By.ID()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, usageWait)
	defer cancel()
	used, unknown := s.history.Usage(ctx)
	never := &api.RuleUse{}
	for i := range all {
		r := &all[i]
		if !selects(&f, r) {
			continue
		}
		out := api.FromRule(r)
		out.Shadowed = shadowed[r.Source]
		if use, ok := used[out.ID]; ok {
			out.Use = &use
		} else if unknown == nil {
			out.Use = never
		}
		list.Rules = append(list.Rules, out)
	}
	looking.Wait()
	for _, d := range diffs {
		list.Differs = append(list.Differs, d.File)
	}
	return list, nil
}

func selects(f *api.RuleFilter, r *rules.Rule) bool {
	app := r.App
	if app == "" {
		app = api.Every
	}
	return (f.App == "" || f.App == app) && (f.ID == "" || f.ID == r.ID()) &&
		(f.Dest == nil || f.Dest.Equal(r.Dest))
}

func (s *server) rulesAdd(m *api.Message) (any, error) {
	in, err := decode[api.Rule](m)
	if err != nil {
		return nil, err
	}
	r, err := in.Rule()
	if err != nil {
		return nil, invalid(err)
	}
	if r.Created.IsZero() {
		r.Created = time.Now().UTC().Truncate(time.Second)
	}
	r.Source, r.Jail, r.Run = rules.Source{}, "", false
	if r, err = s.store.add(r); err != nil {
		return nil, err
	}
	s.pushAll(nil)
	return api.FromRule(&r), nil
}

func (s *server) rulesRemove(m *api.Message) (any, error) {
	f, err := decode[api.RuleFilter](m)
	if err != nil {
		return nil, err
	}
	if f.ID == "" && f.Dest == nil && f.App == "" {
		return nil, invalid(fmt.Errorf("%s: which rule?", m.Op))
	}
	if err := s.store.trouble(); err != nil {
		return nil, err
	}
	gone, err := s.store.remove(func(r *rules.Rule) bool { return selects(&f, r) })
	if err == nil && len(gone) == 0 && f.Dest != nil && f.Dest.Proto == rules.AnyProto {
		// People leave the protocol out, which answers to questions write.
		gone, err = s.store.remove(func(r *rules.Rule) bool {
			o := *r
			o.Dest.Proto = rules.AnyProto
			return selects(&f, &o)
		})
	}
	if len(gone) > 0 {
		s.pushAll(nil)
	}
	if err != nil {
		return nil, err
	}
	if len(gone) == 0 {
		return nil, &api.Error{Text: "no such rule", Hint: "netjail rules list", Code: api.CodeNotFound}
	}
	return api.RuleList{Rules: api.FromRules(gone)}, nil
}

func (s *server) status() api.Status {
	st := api.Status{PID: os.Getpid(), Started: s.started, Config: s.cfg.ConfigDir, Jails: []api.Jail{}}
	if err := s.store.unread(); err != nil {
		st.Problem = err.Error()
	}
	if err := s.lists.unread(); err != nil {
		st.Blocklist = err.Error()
	}
	if err := s.history.Trouble(); err != nil {
		st.History = err.Error()
	}
	s.mu.Lock()
	for j := range s.jails {
		st.Jails = append(st.Jails, api.Jail{
			App: j.reg.App, ID: j.reg.Jail, Supervisor: j.pid, Command: j.reg.Command, Started: j.started,
			Guard: j.reg.Guard, Mode: j.reg.Mode, Covers: append([]string{}, j.reg.Covers...),
		})
	}
	s.mu.Unlock()
	st.Questions = s.queue.Open()
	return st
}
