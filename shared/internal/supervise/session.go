package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/ndjson"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// DefaultAnswer is how long a plugin may take for an answer of the handshake: an
// import of a large library takes seconds on a busy machine.
const DefaultAnswer = 30 * time.Second

const (
	// What a plugin may print beside its answers, between two of them.
	junkLines = 1000
	junkBytes = 1 << 20

	// faultGrace is what a plugin gets that broke its contract.
	faultGrace = time.Second

	// closedOutputWait is how long the end of a process may come after the end of
	// its output. Both come within a millisecond unless it closed its output, or who is to
	// tell of its end has no processor for seconds.
	closedOutputWait = 3 * time.Second
)

var errSessionClosed = errors.New("the session is closed")

// Options of a session.
type Options struct {
	Spec   sandbox.Spec // its standard files are the session's own
	Config map[string]json.RawMessage
	Log    LogSink
	Answer time.Duration // for each answer of the handshake; 0: DefaultAnswer

	// Standby, where it is set, is the process, with which the handshake was done; of the Spec
	// counts the limit for its time, which runs from when asked is closed. Environment is the
	// line that it is given with its command, before it: it wakes up once.
	Standby     *Standby
	Environment []byte
	asked       <-chan struct{}

	// What a plugin of protocol 2 pushes. Nil: passed on as log.
	OnEvent    func(event json.RawMessage)
	OnProgress func(plugin.Progress)
}

// Session is a plugin process that speaks contract stdio.
type Session struct {
	opts    Options
	log     *throttle
	process *sandbox.Process
	stdin   *os.File
	info    plugin.Info

	turn    chan struct{}        // holds a token during one command
	answers chan plugin.Response // of the command that is under way
	failed  chan struct{}        // closed when fault is set
	said    chan struct{}        // closed when standard error was read to its end
	readers sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	waiting   bool       // a command is under way
	closing   bool       // the end of the process is asked for
	undecided bool       // whether the process speaks this contract at all
	fault     error

	text *output // what an undecided process printed; only the reader writes
}

// Open starts the process and shakes hands with it: get_info, initialize, start.
// The process lives no longer than ctx. The error is a *Fault where the plugin is
// to blame; then nothing is left of the process.
func Open(ctx context.Context, o Options) (*Session, error) {
	s, err := begin(ctx, o, false)
	if err != nil {
		return nil, err
	}
	response, err := s.step(ctx, hello)
	if err == nil {
		err = s.ready(ctx, response)
	}
	if err != nil {
		s.Close(0)
		return nil, err
	}
	return s, nil
}

// hello is the first command.
var hello = plugin.Command{Action: plugin.GetInfo, Protocol: plugin.Protocol}

// begin starts the process and the readers of its output. An undecided one may
// turn out to be a script.
func begin(ctx context.Context, o Options, undecided bool) (*Session, error) {
	if o.Answer == 0 {
		o.Answer = DefaultAnswer
	}
	if o.Config == nil {
		o.Config = map[string]json.RawMessage{}
	}
	s := &Session{
		opts: o, log: newThrottle(o.Log),
		turn: make(chan struct{}, 1), answers: make(chan plugin.Response, 1), failed: make(chan struct{}), said: make(chan struct{}),
		undecided: undecided, text: newOutput(),
	}
	p, err := o.process(ctx)
	if err != nil {
		return nil, err
	}
	s.process, s.stdin = p.process, p.feed
	s.readers.Go(p.endWithIt)
	s.readers.Go(func() { s.read(p.out) })
	s.readers.Go(func() {
		defer close(s.said)
		defer p.errs.Close()
		s.log.pump("stderr", p.errs)
	})
	return s, nil
}

// process is the one of a session: what stood by and begins now, or a new one.
func (o *Options) process(ctx context.Context) (piped, error) {
	if o.Standby == nil {
		return withPipes(func(stdin, stdout, stderr *os.File) (*sandbox.Process, error) {
			s := o.Spec
			s.Stdin, s.Stdout, s.Stderr = stdin, stdout, stderr
			return sandbox.Start(ctx, s)
		})
	}
	if err := o.Standby.process.Begin(ctx, o.Spec.Limits.Time, o.asked); err != nil {
		return piped{}, fmt.Errorf("%w: %w", ErrUnasked, err)
	}
	return o.Standby.piped, nil
}

// ready goes through the rest of the handshake.
func (s *Session) ready(ctx context.Context, info plugin.Response) error {
	s.info = plugin.DecodeInfo(info.Data)
	if _, err := s.step(ctx, plugin.Command{Action: plugin.Initialize, Config: s.opts.Config}); err != nil {
		return err
	}
	_, err := s.step(ctx, plugin.Command{Action: plugin.Start})
	return err
}

// step is one command of the handshake, which must succeed.
func (s *Session) step(ctx context.Context, c plugin.Command) (plugin.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Answer)
	defer cancel()
	r, err := s.Call(ctx, c)
	if err == nil && !r.Success {
		err = faultf(Refused, "%s: %s", c.Action, r.Error)
	}
	return r, err
}

// Info is what the plugin said of itself.
func (s *Session) Info() plugin.Info { return s.info }

// Pid is the plugin's process.
func (s *Session) Pid() int { return s.process.Pid() }

// Done is closed when the plugin broke the contract or its process ended; Err says
// how.
func (s *Session) Done() <-chan struct{} { return s.failed }

// Err is why the session cannot be used any more, nil while it can.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Call sends one command and waits for its answer, which may be one without
// success. When ctx ends after the command was sent, the plugin is killed, since a
// late answer could be taken for the next one's; at a deadline it is at fault. The
// error is a *Fault, or says that the session is closed, that the caller gave up, or
// that the command was never sent.
func (s *Session) Call(ctx context.Context, c plugin.Command) (plugin.Response, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return plugin.Response{}, fmt.Errorf("%s: encode the command: %w", c.Action, err)
	}
	if len(line) > plugin.MaxLineBytes {
		return plugin.Response{}, fmt.Errorf("%s: %w: the command has %d bytes, at most %d", c.Action, limits.ErrTooLarge, len(line), plugin.MaxLineBytes)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return plugin.Response{}, fmt.Errorf("%s: wait for the command before: %w", c.Action, ctx.Err())
	}
	if err := s.expect(); err != nil {
		return plugin.Response{}, err
	}
	if err := s.send(ctx, slices.Concat(s.opts.Environment, line, []byte("\n"))); err != nil {
		return plugin.Response{}, &unsent{err}
	}
	select {
	case r := <-s.answers:
		return r, nil
	case <-s.failed:
		select { // an answer that came just before the end counts
		case r := <-s.answers:
			return r, nil
		default:
			return plugin.Response{}, s.Err()
		}
	case <-ctx.Done():
		s.fail(silence(ctx, "did not answer %s in time", c.Action))
		return plugin.Response{}, s.Err()
	}
}

// unsent is why a command did not reach the process as a whole.
type unsent struct{ error }

func (u *unsent) Unwrap() error { return u.error }

// silence is the plugin's fault when its time ran out, and nobody's when the caller
// did not want to wait any more.
func silence(ctx context.Context, format string, args ...any) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("given up while waiting for the plugin: %w", ctx.Err())
	}
	return faultf(Silent, format, args...)
}

// expect notes that the next answer belongs to a command.
func (s *Session) expect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.waiting = true
	}
	return s.fault
}

// send writes to the plugin, which may not be reading. A plugin that is gone is
// told of by the reader, which knows how it ended.
func (s *Session) send(ctx context.Context, line []byte) error {
	stop := context.AfterFunc(ctx, func() { s.stdin.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := s.stdin.Write(line)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.fail(silence(ctx, "does not read its commands"))
	default:
		select { // the reader tells when it is dead
		case <-s.failed:
		case <-time.After(closedOutputWait):
			s.fail(faultf(ClosedOutput, "closed its standard input and lives on"))
		}
	}
	return s.Err()
}

// fail ends the session; the first reason counts.
func (s *Session) fail(err error) {
	s.mu.Lock()
	first := s.fault == nil
	if first {
		s.fault = err
		close(s.failed)
	}
	s.mu.Unlock()
	if first {
		s.readers.Go(func() { s.process.Kill(faultGrace) })
	}
}

// read takes standard output apart until its end.
func (s *Session) read(out *os.File) {
	defer out.Close()
	lines := ndjson.NewReader(out, plugin.MaxLineBytes)
	junk := budget{junkLines, junkBytes}
	for {
		line, err := lines.Next()
		switch {
		case errors.Is(err, limits.ErrTooLarge) && s.isUndecided():
			s.text.drain(out)
			s.declareEnd()
			return
		case errors.Is(err, limits.ErrTooLarge):
			s.fail(faultf(LineTooLong, "printed a line of more than %d bytes", plugin.MaxLineBytes))
			return
		case err != nil:
			s.declareEnd()
			return
		}
		if s.take(line) {
			junk = budget{junkLines, junkBytes}
			continue
		}
		if s.isUndecided() {
			s.text.line(line)
			continue
		}
		s.log.line("stdout", line)
		if !junk.spend(len(line)) {
			s.fail(faultf(Junk, "printed %d lines or %d bytes that are no answer: standard output is the protocol, log to standard error", junkLines, junkBytes))
			return
		}
	}
}

// budget is what may still be printed beside answers.
type budget struct{ lines, bytes int }

func (b *budget) spend(n int) bool {
	b.lines--
	b.bytes -= n
	return b.lines >= 0 && b.bytes >= 0
}

// take uses a line that is part of the contract and reports whether it was.
func (s *Session) take(raw []byte) bool {
	line, ok := plugin.DecodeLine(raw)
	switch {
	case !ok:
		return false
	case line.Response != nil:
		return s.answer(*line.Response)
	case line.Log != nil:
		s.log.line("record", []byte(line.Log.Level+": "+line.Log.Message))
	case line.Event != nil && s.opts.OnEvent != nil:
		s.opts.OnEvent(line.Event)
	case line.Progress != nil && s.opts.OnProgress != nil:
		s.opts.OnProgress(*line.Progress)
	default:
		return false
	}
	return true
}

// answer hands an answer to the command that waits for it and reports whether one
// did. A script may print an object that looks like an answer, so an undecided
// process has to repeat the name of the command.
func (s *Session) answer(r plugin.Response) bool {
	s.mu.Lock()
	expected := s.waiting && (!s.undecided || r.Action == hello.Action)
	decided := expected && s.undecided
	if expected {
		s.waiting, s.undecided = false, false
	}
	s.mu.Unlock()
	if decided {
		s.text.replay(s.log)
	}
	if expected {
		s.answers <- r
	}
	return expected
}

func (s *Session) isUndecided() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.undecided
}

// declareEnd finds out why the plugin cannot be spoken to any more.
func (s *Session) declareEnd() {
	var limit <-chan time.Time // a script may close its output
	if !s.isUndecided() {
		limit = time.After(closedOutputWait)
	}
	select {
	case <-s.process.Done():
	case <-limit:
		s.fail(faultf(ClosedOutput, "closed its standard output and lives on"))
		return
	}
	exit, err := s.process.Wait()
	if err != nil {
		s.fail(err)
		return
	}
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	if closing {
		s.fail(errSessionClosed)
		return
	}
	f := faultf(Exited, "%s", exit)
	<-s.said // the likeliest reason is the last line, and nobody can write one any more
	if reason := s.log.reason(); reason != "" {
		f.Detail += ": " + reason
	}
	f.Exit = &exit
	s.fail(f)
}

// orderly is how long a plugin may take to hear stop and to end by itself after the
// end of its input.
const orderly = time.Second

// Close ends the plugin in order: stop, the end of its input, then TERM and after
// grace KILL. It returns when nothing of it is left, at most grace and two seconds
// later, of which one is its chance to end by itself; grace 0 forces at once. It may
// be called many times.
func (s *Session) Close(grace time.Duration) (sandbox.Exit, error) {
	s.mu.Lock()
	s.closing = true
	usable := s.fault == nil
	s.mu.Unlock()
	limit := time.After(min(grace, orderly))
	if usable && grace > 0 {
		s.sayGoodbye(min(grace, orderly))
	}
	s.stdin.Close()
	if usable {
		select {
		case <-s.process.Done():
		case <-limit:
		}
	}
	s.process.Kill(grace)
	s.readers.Wait()
	s.log.flush()
	return s.process.Wait()
}

// sayGoodbye sends stop. Its answer does not matter: the plugin ends either way.
func (s *Session) sayGoodbye(limit time.Duration) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return // a command is under way; the plugin would read stop too late
	}
	line, err := json.Marshal(plugin.Command{Action: plugin.Stop})
	if err != nil || s.expect() != nil {
		return
	}
	s.stdin.SetWriteDeadline(time.Now().Add(limit))
	_, _ = s.stdin.Write(append(line, '\n')) // who is gone already needs no goodbye
}
