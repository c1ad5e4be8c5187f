package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
)

// room is accounts over a real store.
type room struct {
	*Accounts
	t  *testing.T
	st store.Store
}

// keeper keeps accounts as the engine does.
type keeper struct{ st store.Store }

func (k keeper) View(ctx context.Context, org api.OrgID, f func(store.Reader) error) error {
	return k.st.Org(org).View(ctx, f)
}

func (k keeper) Change(ctx context.Context, org api.OrgID, f func(store.Tx, func(action, object, detail string) error) error) error {
	return k.st.Org(org).Update(ctx, func(tx store.Tx) error {
		return f(tx, func(action, object, detail string) error {
			return tx.AddAudit(store.Audit{At: time.Now(), Actor: Actor(ctx), Action: action, Object: object, Detail: detail})
		})
	})
}

// inRoom runs a test with a clock of its own.
func inRoom(t *testing.T, f func(*testing.T, room)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := sqlite.Open(t.Context(), filepath.Join(dir, "db"))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		a := New(keeper{st}, slog.New(slog.DiscardHandler), nil)
		go func() { _ = a.Run(ctx) }()
		f(t, room{a, t, st})
	})
}

const good = "several words long"

// user adds one with a password, and returns a session of it.
func (r room) user(org api.OrgID, name string, role Role) Session {
	r.t.Helper()
	if _, err := r.AddUser(r.t.Context(), org, name, UserSpec{Role: role}); err != nil {
		r.t.Fatal(err)
	}
	link, err := r.Invite(r.t.Context(), org, name)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := r.Accept(r.t.Context(), link, Attempt{Password: good, Address: "192.0.2.9"})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r room) wants(what string, err error, code api.Code) {
	r.t.Helper()
	if api.CodeOf(err) != code || err != nil && code == "" {
		r.t.Errorf("%s: %v, want %q", what, err, code)
	}
}

// waits wants an attempt to be held up for so long.
func (r room) waits(what string, err error, want time.Duration) {
	r.t.Helper()
	var refusal *api.Error
	if !errors.As(err, &refusal) || refusal.Code != api.CodeRateLimited || refusal.RetryAfter != want {
		r.t.Errorf("%s: %v, want it held up for %v", what, err, want)
	}
}

// try has somebody log in to the default organisation.
func (r room) try(name, password, address string) error {
	_, err := r.Login(r.t.Context(), Attempt{Org: "default", Name: name, Password: password, Address: address})
	return err
}

// writes is when the sessions were written to last.
func (r room) writes() string {
	r.t.Helper()
	var all []store.Credential
	err := r.st.Org("default").View(r.t.Context(), func(rd store.Reader) (err error) {
		all, err = rd.Credentials("")
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return sprint(all)
}

func (r room) recognised(kind, text string) error {
	_, _, release, err := r.Recognise(r.t.Context(), kind, text, "192.0.2.1")
	if err == nil {
		release()
	}
	return err
}

// TestSessionsEnd holds both ends of a session: without use, and in any case.
func TestSessionsEnd(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		s := r.user("default", "ann", Viewer)
		time.Sleep(SessionIdle - time.Second)
		r.wants("just before it was idle for too long", r.recognised(KindSession, s.Token), "")
		time.Sleep(SessionIdle - time.Second)
		r.wants("used meanwhile", r.recognised(KindSession, s.Token), "")
		time.Sleep(SessionIdle)
		r.wants("idle for too long", r.recognised(KindSession, s.Token), api.CodeUnauthenticated)
		s, err := r.Login(t.Context(), Attempt{Org: "default", Name: "ann", Password: good, Address: "192.0.2.9"})
		r.wants("login", err, "")
		before := r.writes()
		for n := range 20 {
			_, _, release, err := r.Recognise(t.Context(), KindSession, s.Token, string(rune('a'+n)))
			r.wants("from many addresses", err, "")
			release()
		}
		if after := r.writes(); after != before {
			t.Errorf("20 requests from as many addresses changed what is kept: %v, then %v", before, after)
		}
		for range int(SessionLife/(SessionIdle/2)) - 1 {
			time.Sleep(SessionIdle / 2)
			r.wants("in use", r.recognised(KindSession, s.Token), "")
		}
		time.Sleep(SessionIdle / 2)
		r.wants("in use beyond its life", r.recognised(KindSession, s.Token), api.CodeUnauthenticated)
	})
}

// TestTokensEnd holds what a token gives, and until when.
func TestTokensEnd(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		r.user("default", "root", Admin)
		r.user("default", "ann", Operator)
		_, _, err := r.CreateToken(t.Context(), "default", "ann", TokenSpec{Name: "much", Role: Admin})
		r.wants("more than its user has", err, api.CodeForbidden)
		text, c, err := r.CreateToken(t.Context(), "default", "ann", TokenSpec{Name: "ci", Role: Operator, TTL: time.Hour})
		r.wants("create", err, "")
		_, who, release, err := r.Recognise(t.Context(), KindToken, text, "192.0.2.1")
		if err != nil || who.Role != Operator || who.Token != "ci" || who.User != "ann" {
			t.Fatalf("recognised %+v, %v", who, err)
		}
		release()
		if _, err := r.ChangeUser(t.Context(), "default", "ann", UserSpec{Role: Viewer}); err != nil {
			t.Fatal(err)
		}
		_, who, release, err = r.Recognise(t.Context(), KindToken, text, "192.0.2.1")
		if err != nil || who.Role != Viewer {
			t.Fatalf("after its user became viewer the token gives %s, %v", who.Role, err)
		}
		release()
		time.Sleep(time.Hour)
		r.wants("after its end", r.recognised(KindToken, text), api.CodeUnauthenticated)
		text, _, err = r.CreateToken(t.Context(), "default", "ann", TokenSpec{Name: "ci", Role: Viewer})
		r.wants("the name again", err, "")
		if err := r.RevokeToken(t.Context(), "default", "root", TokenID(c)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another user's token: %v, want not found", err)
		}
		r.wants("of the organisation", r.recognised(KindToken, text), "")
		r.wants("remove", r.RemoveUser(t.Context(), "default", "ann"), "")
		r.wants("after its user", r.recognised(KindToken, text), api.CodeUnauthenticated)
		r.user("default", "ann", Admin) // the same name is somebody else
		r.wants("after another of the name", r.recognised(KindToken, text), api.CodeUnauthenticated)
	})
}

// TestNothingIsKeptThatOpensADoor looks for passwords and credentials in all that is stored.
func TestNothingIsKeptThatOpensADoor(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		s := r.user("default", "ann", Admin)
		text, _, err := r.CreateToken(t.Context(), "default", "ann", TokenSpec{Name: "ci", Role: Viewer})
		if err != nil {
			t.Fatal(err)
		}
		link, err := r.Invite(t.Context(), "default", "ann")
		if err != nil {
			t.Fatal(err)
		}
		err = r.st.Org("default").View(t.Context(), func(rd store.Reader) error {
			users, err := rd.Users()
			all, err2 := rd.Credentials("")
			audit, err3 := rd.Audit(0, 0)
			kept := strings.ToLower(strings.Join([]string{sprint(users), sprint(all), sprint(audit)}, "\n"))
			for _, secret := range []string{good, s.Token, text, link, s.Token[len("svs_default_"):], text[len("sva_default_"):], link[len("svi_default_"):]} {
				if strings.Contains(kept, secret) {
					t.Errorf("%q is kept", secret)
				}
			}
			if !strings.Contains(kept, "$argon2id$v=19$m=19456,t=2,p=1$") {
				t.Error("the password is not kept as argon2id")
			}
			return errors.Join(err, err2, err3)
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestGuessing holds that guesses are slowed by the name wherever they come from, and by the
// address whatever they name, that the right password is held up as well then, and that it
// passes.
func TestGuessing(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		r.user("default", "ann", Viewer)
		r.user("default", "bob", Viewer)
		for n := range nameBurst {
			r.wants("a guess", r.try("ann", "wrong", string(rune('a'+n))), api.CodeUnauthenticated)
		}
		r.waits("the right one after too many", r.try("ann", good, "another"), namePause)
		r.wants("somebody else", r.try("bob", good, "another"), "")
		time.Sleep(namePause)
		r.wants("after a while", r.try("ann", good, "another"), "")
		for range addressBurst {
			_ = r.try("nobody"+string(rune('a')), "wrong", "one")
		}
		r.wants("whatever it names", r.try("bob", good, "one"), api.CodeRateLimited)
		r.wants("from elsewhere", r.try("bob", good, "two"), "")
		_, err := r.Accept(t.Context(), "svi_default_x", Attempt{Address: "one", Password: good})
		r.wants("a link, from the same", err, api.CodeRateLimited)
		for range nameBurst + 2 {
			r.wants("logins of one's own", r.try("bob", good, string(rune(time.Now().UnixNano()%1e6))), "")
			time.Sleep(addressPause)
		}
	})
}

// TestGuessesFromManyAddresses: the count of a name is not forgotten for others, of any length, and a
// network of IPv6 is one address.
func TestGuessesFromManyAddresses(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		r.hasher.decoy = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA" // costs nothing to compare with
		for n := range nameBurst {
			r.wants("a guess", r.try("ann", "wrong", fmt.Sprintf("2001:db8:1:%x::1", n)), api.CodeUnauthenticated)
		}
		long := strings.Repeat("a", 1000)
		for n := range 15_000 {
			r.wants("of another name", r.try(fmt.Sprint(long, n), "wrong", fmt.Sprintf("2001:db8:2:%x::1", n/addressBurst)), api.CodeUnauthenticated)
		}
		r.waits("one more guess", r.try("ann", "wrong", "2001:db8:3::1"), namePause)
		for n := range addressBurst {
			_ = r.try("nobody", "wrong", fmt.Sprintf("2001:db8:4::%x", n))
		}
		r.waits("from the same network", r.try("bob", "wrong", "2001:db8:4::ffff"), addressPause)
	})
}

// TestGuessesOfANameAtOnce: no more of them are compared than the burst, from however many addresses
// they come, and what is not compared does not hold up the name for longer.
func TestGuessesOfANameAtOnce(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		r.hasher.decoy = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA" // costs nothing to compare with
		for range hashesAtATime {
			r.hasher.turns <- struct{}{} // nothing is compared before all are there
		}
		var compared, refused atomic.Int32
		var group sync.WaitGroup
		for n := range nameBurst + 10 {
			group.Go(func() {
				switch err := r.try("nobody", "wrong", string(rune('a'+n))); api.CodeOf(err) {
				case api.CodeUnauthenticated:
					compared.Add(1)
				case api.CodeRateLimited:
					refused.Add(1)
				default:
					t.Errorf("a guess: %v", err)
				}
			})
		}
		synctest.Wait()
		for range hashesAtATime {
			<-r.hasher.turns
		}
		group.Wait()
		if compared.Load() != nameBurst || refused.Load() != 10 {
			t.Errorf("%d guesses were compared and %d refused, want %d and 10", compared.Load(), refused.Load(), nameBurst)
		}
		r.waits("the next", r.try("nobody", "wrong", "another"), namePause)
		time.Sleep(namePause)
		r.wants("after that", r.try("nobody", "wrong", "another"), api.CodeUnauthenticated)
	})
}

// TestTheLastAdmin cannot go, and the right of one in another organisation counts for nothing.
func TestTheLastAdmin(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		r.user("default", "ann", Admin)
		r.user("other", "bob", Admin)
		for what, err := range map[string]error{
			"removed":  r.RemoveUser(t.Context(), "default", "ann"),
			"demoted":  second(r.ChangeUser(t.Context(), "default", "ann", UserSpec{Role: Approver})),
			"disabled": second(r.ChangeUser(t.Context(), "default", "ann", UserSpec{Role: Admin, Disabled: true})),
		} {
			r.wants(what, err, api.CodeConflict)
		}
		r.user("default", "bob", Admin)
		r.wants("with another one", r.RemoveUser(t.Context(), "default", "ann"), "")
	})
}

func second[T any](_ T, err error) error { return err }

// TestWrongNamesAndPasswords lists what cannot be chosen.
func TestWrongNamesAndPasswords(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		for _, name := range []string{"", "Ann", "ann smith", "a/b", "../x", "-a", "ann\n", strings.Repeat("a", 65), "änn"} {
			r.wants(name, second(r.AddUser(t.Context(), "default", name, UserSpec{Role: Viewer})), api.CodeInvalid)
		}
		for _, spec := range []UserSpec{{}, {Role: "root"}, {Role: Viewer, Groups: []string{"On Call"}}, {Role: Viewer, Groups: make([]string, 21)}, {Role: Viewer, Subject: "ann"}} {
			r.wants("spec", second(r.AddUser(t.Context(), "default", "x", spec)), api.CodeInvalid)
		}
		s := r.user("default", "annabelle", Viewer)
		for _, password := range []string{"", "short", "elevenchars", strings.Repeat("a", 20), strings.Repeat("ab", 200), "annabelle1234", "\xff\xfe aaaaaaaaaaaaaa"} {
			_, err := r.ChangePassword(t.Context(), Attempt{Org: "default", Name: "annabelle", Password: good, Address: time.Now().String(), Session: s.Token}, password)
			r.wants("password "+password, err, api.CodeInvalid)
			time.Sleep(time.Minute)
		}
	})
}

// TestRefusedLoginsAreOnRecord, of users that there are, by whichever means.
func TestRefusedLoginsAreOnRecord(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		const subject = "https://id.example 1"
		r.user("default", "ann", Viewer)
		r.wants("a wrong password", r.try("ann", "wrong", "192.0.2.1"), api.CodeUnauthenticated)
		r.wants("nobody", r.try("bob", "wrong", "192.0.2.1"), api.CodeUnauthenticated)
		r.wants("disable", second(r.ChangeUser(t.Context(), "default", "ann", UserSpec{Role: Viewer, Subject: subject, Disabled: true})), "")
		r.wants("the right password", r.try("ann", good, "192.0.2.2"), api.CodeUnauthenticated)
		_, err := r.LoginSubject(t.Context(), Attempt{Org: "default", Address: "192.0.2.3"}, func(context.Context) (string, error) { return subject, nil })
		r.wants("by OpenID", err, api.CodeUnauthenticated)
		synctest.Wait()
		var got []string
		err = r.st.Org("default").View(t.Context(), func(rd store.Reader) error {
			all, err := rd.Audit(0, 0)
			for _, a := range all {
				if a.Action == "login.refuse" {
					got = append(got, a.Actor+" "+a.Object+" "+a.Detail)
				}
			}
			return err
		})
		want := []string{"address 192.0.2.1 ann wrong password", "address 192.0.2.2 ann by password: disabled", "address 192.0.2.3 ann by OpenID: disabled"}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("on record: %q, %v, want %q", got, err, want)
		}
	})
}

// TestLinks holds that a link is good once, until another is made, and for a day.
func TestLinks(t *testing.T) {
	inRoom(t, func(t *testing.T, r room) {
		old := r.user("default", "ann", Viewer)
		first, err := r.Invite(t.Context(), "default", "ann")
		r.wants("invite", err, "")
		link, err := r.Invite(t.Context(), "default", "ann")
		r.wants("invite again", err, "")
		accept := func(link string) error {
			_, err := r.Accept(t.Context(), link, Attempt{Password: good + "er", Address: "192.0.2.1"})
			return err
		}
		r.wants("the one before", accept(first), api.CodeUnauthenticated)
		r.wants("a session as a link", accept(old.Token), api.CodeUnauthenticated)
		who, err := r.Invited(t.Context(), link, "192.0.2.1")
		if err != nil || who.User != "ann" {
			t.Fatalf("looked at: %+v, %v", who, err)
		}
		r.wants("after it was looked at", accept(link), "")
		r.wants("used", accept(link), api.CodeUnauthenticated)
		r.wants("a session from before", r.recognised(KindSession, old.Token), api.CodeUnauthenticated)
		late, err := r.Invite(t.Context(), "default", "ann")
		r.wants("invite", err, "")
		time.Sleep(InvitationLife)
		r.wants("a day later", accept(late), api.CodeUnauthenticated)
	})
}
