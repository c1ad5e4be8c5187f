package storetest

import (
	"errors"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/store"
)

func sampleUser(note string) store.User {
	return store.User{
		Name: "ann", Role: "admin", Groups: []string{"oncall"}, Password: note, Subject: "https://id.example ann", Disabled: true,
		CreatedAt: start, CreatedBy: "operator", LoginAt: after(1),
	}
}

func sampleCredential(note string) store.Credential {
	return store.Credential{
		Hash: "cd34", Kind: "token", User: "ann", Name: "ci", Role: "viewer", Areas: []string{"runs"}, Note: note,
		CreatedAt: start, CreatedBy: "user ann", ExpiresAt: after(9), UsedAt: after(2), Address: "192.0.2.1",
	}
}

func testAccounts(f *fixture) {
	put := func(tx store.Tx) error {
		var err error
		for n, name := range []string{"bob", "ann"} {
			u := sampleUser("x")
			u.Name = name
			err = errors.Join(err, tx.PutUser(u))
			for m := range 2 {
				c := sampleCredential("x")
				c.Hash, c.User, c.CreatedAt, c.ExpiresAt = fmt.Sprint(name, m), name, after(m), after(10*n+m)
				err = errors.Join(err, tx.PutCredential(c))
			}
		}
		return err
	}
	f.update(put)
	f.check(f.store.Org("other").Update(f.Context(), put))
	hashes := func(user string) string {
		got := read(f, org, func(r store.Reader) ([]store.Credential, error) { return r.Credentials(user) })
		return fmt.Sprint(keys(got, func(c store.Credential) string { return c.Hash }))
	}
	f.equal("of bob", hashes("bob"), "[bob1 bob0]")
	f.equal("of all", hashes(""), "[ann1 bob1 ann0 bob0]")
	f.update(func(tx store.Tx) error { return tx.DropCredentials(after(1)) })
	f.equal("after some have ended", hashes(""), "[ann1 ann0]")
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.DropCredential("ann0"), tx.DropCredential("nothing"), tx.DropUser("ann"), tx.DropUser("nobody"))
	})
	f.equal("after one was dropped", hashes("ann"), "[ann1]")
	users := read(f, org, store.Reader.Users)
	f.equal("users", fmt.Sprint(keys(users, func(u store.User) string { return u.Name })), "[bob]")
	others := read(f, "other", func(r store.Reader) ([]store.Credential, error) { return r.Credentials("") })
	if len(others) != 4 {
		f.Errorf("the other organisation has %d credentials, want 4", len(others))
	}
}
