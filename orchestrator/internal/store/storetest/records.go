package storetest

import (
	"errors"
	"reflect"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// checkProbes asks an organisation everything: it has what everything(note) wrote, or
// nothing if note is empty.
func (f *fixture) checkProbes(when string, org api.OrgID, note string) {
	f.Helper()
	f.check(f.store.Org(org).View(f.Context(), func(r store.Reader) error {
		f.ask(when, r, note)
		return nil
	}))
}

func (f *fixture) ask(when string, r store.Reader, note string) {
	f.Helper()
	for _, p := range probes() {
		switch got, err := p.ask(r); {
		case note == "" && !errors.Is(err, store.ErrNotFound):
			f.Errorf("%s: %s: %v, %v; want nothing", when, p.name, got, err)
		case note != "" && err != nil:
			f.Errorf("%s: %s: %v", when, p.name, err)
		case note != "":
			f.equal(when+": "+p.name, got, p.want(note))
		}
	}
}

func testRecords(f *fixture) {
	for _, p := range probes() {
		for _, empty := range emptyFields(reflect.ValueOf(p.want("note")), p.name) {
			f.Errorf("the sample has nothing in %s, so nobody would notice its loss", empty)
		}
	}
	f.update(func(tx store.Tx) error {
		err := everything("first")(tx)
		f.ask("in the transaction", tx, "first")
		return err
	})
	f.checkProbes("after the commit", org, "first")
	f.reopen()
	f.checkProbes("after reopening", org, "first")
}

// emptyFields lists the exported fields below v that are zero.
func emptyFields(v reflect.Value, path string) []string {
	switch {
	case !v.IsValid() || v.IsZero():
		return []string{path}
	case v.Kind() == reflect.Pointer:
		return emptyFields(v.Elem(), path)
	case v.Kind() != reflect.Struct:
		return nil
	}
	var empty []string
	for n := range v.NumField() {
		if field := v.Type().Field(n); field.IsExported() && field.Tag.Get("json") != "-" {
			empty = append(empty, emptyFields(v.Field(n), path+"."+field.Name)...)
		}
	}
	return empty
}

func testNotFound(f *fixture) {
	f.checkProbes("new store", org, "")
	f.update(everything("x"))
	f.view(func(r store.Reader) error {
		_, event := r.Event("web-2", "01EVENT")
		_, version := r.WorkflowVersion("clean", 2)
		for what, err := range map[string]error{"another agent's event": event, "a later version": version} {
			if !errors.Is(err, store.ErrNotFound) {
				f.Errorf("%s: %v, want ErrNotFound", what, err)
			}
		}
		return nil
	})
	s := read(f, org, func(r store.Reader) (delivery.Stream, error) { return r.Stream("web-1", "e2") })
	f.equal("a new stream", s, delivery.Stream{Epoch: "e2"})
}

func testReplacing(f *fixture) {
	f.update(everything("first"))
	f.update(write(
		func(tx store.Tx) error { return tx.PutAgent(sampleAgent("second")) },
		func(tx store.Tx) error { return tx.PutToken(sampleToken("second")) },
		func(tx store.Tx) error { return tx.PutUser(sampleUser("second")) },
		func(tx store.Tx) error { return tx.PutCredential(sampleCredential("second")) },
		func(tx store.Tx) error { return tx.PutSecret(sampleSecret("second")) },
		func(tx store.Tx) error { return tx.PutStream("web-1", sampleStream(6)) },
		func(tx store.Tx) error { return tx.PutGap(sampleGap("second")) },
		func(tx store.Tx) error { return tx.SetCooldown("clean", "web-1", after(6)) },
		func(tx store.Tx) error { return tx.PutRun(sampleRun("second")) },
		func(tx store.Tx) error { return tx.PutInstruction(sampleInstruction("second")) },
		func(tx store.Tx) error { return tx.PutPackage(samplePackage("second")) },
		func(tx store.Tx) error { return tx.PutAssignment(sampleAssignment("second")) },
		func(tx store.Tx) error { return tx.PutPublisher(samplePublisher("second")) },
	))
	replaced := map[string]bool{"agent": true, "token": true, "gaps": true, "newest gaps": true, "old gaps": true, "run": true, "instruction": true, "stream": true, "cooldown": true,
		"user": true, "users": true, "credential": true, "credentials": true, "credentials of user": true,
		"agents": true, "tokens": true, "runs": true, "oldest runs": true, "instructions of run": true,
		"secret": true, "secrets": true,
		"package": true, "packages": true, "packages of plugin": true, "assignment": true, "assignments": true, "due assignments": true, "publishers": true}
	f.view(func(r store.Reader) error {
		for _, p := range probes() {
			note := "first"
			if replaced[p.name] {
				note = "second"
			}
			got, err := p.ask(r)
			if err != nil {
				return err
			}
			f.equal(p.name, got, p.want(note))
		}
		return nil
	})
}

func testUniqueness(f *fixture) {
	f.update(everything("first"))
	f.update(func(tx store.Tx) error {
		if err := tx.AddEvent(sampleEvent("second")); !errors.Is(err, store.ErrExists) {
			f.Errorf("an event with a known id: %v, want ErrExists", err)
		}
		two, three := sampleHistory("of three"), sampleHistory("of three")
		two.Run, three.Run, three.Seq = "01MORE", "01MORE", 2
		four := three
		four.Seq = 3
		if err := tx.AddHistory(two, three, four); err != nil {
			f.Errorf("three rows at once: %v", err)
		}
		if err := tx.AddHistory(four, three); !errors.Is(err, store.ErrExists) {
			f.Errorf("rows that are there: %v, want ErrExists", err)
		}
		if rows, err := tx.History("01MORE"); err != nil || len(rows) != 3 || rows[2].Seq != 3 {
			f.Errorf("%+v, %v; want the three rows", rows, err)
		}
		if err := tx.AddHistory(sampleHistory("second")); !errors.Is(err, store.ErrExists) {
			f.Errorf("history with a known seq: %v, want ErrExists", err)
		}
		if err := tx.AddPackage(samplePackage("second")); !errors.Is(err, store.ErrExists) {
			f.Errorf("a package of a known version: %v, want ErrExists", err)
		}
		other := sampleEvent("other")
		other.Agent = "web-2"
		if err := tx.AddEvent(other); err != nil {
			f.Errorf("the same id from another agent: %v", err)
		}
		return tx.AddAudit(sampleAudit("the transaction goes on"))
	})
	got := read(f, org, func(r store.Reader) (store.Event, error) { return r.Event("web-1", "01EVENT") })
	f.equal("the first event", got, sampleEvent("first"))
	if n := len(read(f, org, func(r store.Reader) ([]store.Audit, error) { return r.Audit(0, 0) })); n != 2 {
		f.Errorf("%d audit records, want 2: what came after ErrExists counts", n)
	}
}

func testIsolation(f *fixture) {
	other := api.OrgID("other")
	f.update(everything("ours"))
	f.checkProbes("before it has anything", other, "")
	f.check(f.store.Org(other).Update(f.Context(), everything("theirs")))
	f.checkProbes("ours", org, "ours")
	f.checkProbes("theirs", other, "theirs")

	f.check(f.store.Org(other).Update(f.Context(), func(tx store.Tx) error { return tx.DeleteWorkflow("clean") }))
	f.check(f.store.Org(other).Update(f.Context(), deletePackages))
	f.checkProbes("ours, after theirs was deleted", org, "ours")
	_, some, err := ask2(f, other, store.Reader.NextDue)
	if some || err != nil {
		f.Errorf("NextDue of the other organisation: %v, %v", some, err)
	}
}

func testOrgs(f *fixture) {
	if orgs, err := f.store.Orgs(f.Context()); err != nil || len(orgs) != 0 {
		f.Errorf("Orgs of a new store = %v, %v", orgs, err)
	}
	for _, id := range []api.OrgID{"b", "a", "b"} {
		f.check(f.store.Org(id).Update(f.Context(), func(tx store.Tx) error { return tx.AddAudit(sampleAudit("x")) }))
	}
	f.check(f.store.Org("c").View(f.Context(), func(store.Reader) error { return nil }))
	orgs, err := f.store.Orgs(f.Context())
	f.check(err)
	f.equal("Orgs", orgs, []api.OrgID{"a", "b"})
}

// ask2 is read for queries with two answers.
func ask2[A, B any](f *fixture, org api.OrgID, query func(store.Reader) (A, B, error)) (a A, b B, err error) {
	err = f.store.Org(org).View(f.Context(), func(r store.Reader) (err error) {
		a, b, err = query(r)
		return err
	})
	return a, b, err
}
