package sqlstore

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
)

var (
	userByName = prepare(`SELECT doc FROM users WHERE org = ?1 AND name = ?2`)
	allUsers   = prepare(`SELECT doc FROM users WHERE org = ?1 ORDER BY name`)
	putUser    = prepare(`INSERT INTO users (org, name, doc) VALUES (?1, ?2, ?3)
		ON CONFLICT (org, name) DO UPDATE SET doc = excluded.doc`)
	dropUser = prepare(`DELETE FROM users WHERE org = ?1 AND name = ?2`)

	credentialByHash = prepare(`SELECT doc FROM credentials WHERE org = ?1 AND hash = ?2`)
	credentialsOf    = prepare(`SELECT doc FROM credentials WHERE org = ?1 AND (owner = ?2 OR ?2 = '') ORDER BY created DESC, hash`)
	putCredential    = prepare(`INSERT INTO credentials (org, hash, owner, created, expires, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (org, hash) DO UPDATE SET owner = excluded.owner, created = excluded.created, expires = excluded.expires, doc = excluded.doc`)
	dropCredential  = prepare(`DELETE FROM credentials WHERE org = ?1 AND hash = ?2`)
	dropCredentials = prepare(`DELETE FROM credentials WHERE org = ?1 AND expires <= ?2`)
)

func (r reader) User(name string) (store.User, error) { return one[store.User](r, userByName, name) }
func (r reader) Users() ([]store.User, error)         { return all[store.User](r, allUsers) }
func (t *tx) PutUser(u store.User) error              { return t.put(putUser, u, u.Name) }
func (t *tx) DropUser(name string) error              { return t.write(dropUser, name) }

func (r reader) Credential(hash string) (store.Credential, error) {
	return one[store.Credential](r, credentialByHash, hash)
}

func (r reader) Credentials(user string) ([]store.Credential, error) {
	return all[store.Credential](r, credentialsOf, user)
}

func (t *tx) PutCredential(c store.Credential) error {
	return t.put(putCredential, c, c.Hash, c.User, c.CreatedAt.UnixNano(), c.ExpiresAt.UnixNano())
}

func (t *tx) DropCredential(hash string) error { return t.write(dropCredential, hash) }

func (t *tx) DropCredentials(by time.Time) error { return t.write(dropCredentials, by.UnixNano()) }
