package sqlstore

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// reader reads one organisation's records. By convention ?1 of every statement is the
// organisation, and a record is read from a column of its JSON.
type reader struct {
	session Session
	org     api.OrgID
}

var _ store.Reader = reader{}

// tx also writes them; then the record's JSON is the last argument.
type tx struct {
	reader
	orgs map[api.OrgID]bool // that are in table orgs
	next map[numbered]int64 // the next free numbers

	digests map[api.OrgID]string // of the newest audit records

	recent *recent

	others  bool
	tell    func([]byte) error
	awaited func() bool
}

func (t *tx) Others() bool           { return t.others }
func (t *tx) Tell(text []byte) error { return t.tell(text) }
func (t *tx) Awaited() bool          { return t.awaited() }

var _ store.Tx = (*tx)(nil)

// all reads the records of a query whose only column is their JSON.
func all[T any](r reader, st Statement, args ...any) ([]T, error) {
	var out []T
	err := r.session.Query(st, func(scan Scanner) error {
		var doc []byte
		if err := scan(&doc); err != nil {
			return err
		}
		var record T
		if err := json.Unmarshal(doc, &record); err != nil {
			return fmt.Errorf("record %T of organisation %s: %w", record, r.org, err)
		}
		out = append(out, record)
		return nil
	}, append([]any{r.org}, args...)...)
	return out, err
}

// one reads the only record of a query, and is ErrNotFound when there is none.
func one[T any](r reader, st Statement, args ...any) (T, error) {
	records, err := all[T](r, st, args...)
	if err != nil || len(records) == 0 {
		var none T
		if err == nil {
			err = store.ErrNotFound
		}
		return none, err
	}
	return records[0], nil
}

var addOrg = prepare(`INSERT INTO orgs (org) VALUES (?1) ON CONFLICT DO NOTHING`)

// write runs a statement that writes, with args after the organisation.
func (t *tx) write(st Statement, args ...any) error {
	if err := t.addOrg(); err != nil {
		return err
	}
	return t.session.Write(st, append([]any{t.org}, args...)...)
}

func (t *tx) addOrg() error {
	if t.orgs[t.org] {
		return nil
	}
	t.orgs[t.org] = true
	return t.session.Write(addOrg, t.org)
}

// put writes a record, with its columns in args.
func (t *tx) put(st Statement, record any, args ...any) error {
	doc, err := encode(record)
	if err != nil {
		return err
	}
	return t.write(st, append(args, doc)...)
}

// putWith is put of a record whose last field is JSON by itself, which is empty in it and given
// beside it: so that is not read through once more.
func (t *tx) putWith(field string, value json.RawMessage, st Statement, record any, args ...any) error {
	doc, err := encode(record)
	if err != nil {
		return err
	}
	if len(value) > 0 {
		doc = strings.TrimSuffix(doc, "}") + `,"` + field + `":` + string(value) + "}"
	}
	return t.write(st, append(args, doc)...)
}

// add is put for a statement that does nothing when the key is taken, and then ErrExists.
func (t *tx) add(st Statement, record any, args ...any) error {
	doc, err := encode(record)
	if err != nil {
		return err
	}
	if err := t.addOrg(); err != nil {
		return err
	}
	n, err := t.session.Change(st, append(append([]any{t.org}, args...), doc)...)
	if err == nil && n == 0 {
		clear(t.next) // the number that it was to have is free
		return store.ErrExists
	}
	return err
}

// numbered is what has numbers of its own: a table, named by the statement that finds the
// highest in use, of an organisation.
type numbered struct {
	org  api.OrgID
	last Statement
}

// number gives the next free number of a table; last finds the highest in use. The writer
// remembers it as long as nothing was undone and nobody else wrote.
func (t *tx) number(last Statement) (int64, error) {
	key := numbered{t.org, last}
	n, asked := t.next[key]
	if !asked {
		if _, err := value(t.session, last, &n, t.org); err != nil {
			return 0, err
		}
		n++
	}
	t.next[key] = n + 1
	return n, nil
}

// encode makes the JSON of a record. It leaves <, > and & as they are: nothing of this
// is HTML, and text that people search for stays as it was written.
func encode(record any) (string, error) {
	var b strings.Builder // which it writes to once
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(record); err != nil {
		return "", fmt.Errorf("record %T: %w", record, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// nanos is how a time stands in a column; the zero time is null.
func nanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}
