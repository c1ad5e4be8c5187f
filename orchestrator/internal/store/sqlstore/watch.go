package sqlstore

import (
	"regexp"
	"strings"
	"time"
)

// Watch says of which statements it is told that they took long.
type Watch struct {
	Over time.Duration // longer than this; 0: of none
	Tell func(Slow)    // it is called between statements, and so may not take long itself
}

// Slow is a statement that took long. It has the text with its parameters as ?1, ?2, …, and
// never what they were.
type Slow struct {
	Name string // what it does to which table: "select runs", "commit"
	Text string
	Took time.Duration
	Rows int64 // that were read, with what became of them here, or changed
}

// The statements of transactions, which have no text of their own.
const (
	nameBegin  = "begin"
	nameCommit = "commit"
)

var (
	spaces       = regexp.MustCompile(`\s+`)
	verbAndTable = regexp.MustCompile(`(?i)^(?:WITH .*?\)\s*)?(SELECT|INSERT|UPDATE|DELETE)\b(?:.*?\b(?:FROM|INTO)\s+|\s+)(\w+)`)
)

// nameOf is a short name of a statement.
func nameOf(text string) string {
	if m := verbAndTable.FindStringSubmatch(spaces.ReplaceAllString(text, " ")); m != nil {
		return strings.ToLower(m[1]) + " " + m[2]
	}
	return "other"
}

// session returns s, with its statements watched.
func (w Watch) session(s Session) Session {
	if w.Over <= 0 {
		return s
	}
	return &watchedSession{s, w}
}

type watchedSession struct {
	Session
	watch Watch
}

func (s *watchedSession) Write(st Statement, args ...any) error {
	begin := time.Now()
	err := s.Session.Write(st, args...)
	s.watch.statement(begin, st, 0)
	return err
}

func (s *watchedSession) Change(st Statement, args ...any) (int64, error) {
	begin := time.Now()
	n, err := s.Session.Change(st, args...)
	s.watch.statement(begin, st, n)
	return n, err
}

func (s *watchedSession) Query(st Statement, row func(Scanner) error, args ...any) error {
	begin, n := time.Now(), int64(0)
	err := s.Session.Query(st, func(scan Scanner) error {
		n++
		return row(scan)
	}, args...)
	s.watch.statement(begin, st, n)
	return err
}

func (w Watch) statement(begin time.Time, st Statement, rows int64) {
	if took := time.Since(begin); took > w.Over {
		text := texts[st]
		w.Tell(Slow{nameOf(text), strings.TrimSpace(spaces.ReplaceAllString(text, " ")), took, rows})
	}
}

// connection returns c, with its statements, its beginning and its commit watched.
func (w Watch) connection(c Connection) Connection {
	if w.Over <= 0 {
		return c
	}
	return &watchedConnection{c, watchedSession{c, w}}
}

type watchedConnection struct {
	Connection
	statements watchedSession
}

func (c *watchedConnection) Write(st Statement, args ...any) error {
	return c.statements.Write(st, args...)
}

func (c *watchedConnection) Change(st Statement, args ...any) (int64, error) {
	return c.statements.Change(st, args...)
}

func (c *watchedConnection) Query(st Statement, row func(Scanner) error, args ...any) error {
	return c.statements.Query(st, row, args...)
}

func (c *watchedConnection) Begin() error  { return c.step(nameBegin, c.Connection.Begin) }
func (c *watchedConnection) Commit() error { return c.step(nameCommit, c.Connection.Commit) }

func (c *watchedConnection) step(name string, do func() error) error {
	begin := time.Now()
	err := do()
	if took := time.Since(begin); took > c.statements.watch.Over {
		c.statements.watch.Tell(Slow{Name: name, Text: strings.ToUpper(name), Took: took})
	}
	return err
}
