package sqlstore

import "github.com/stavily/agents/orchestrator/internal/store"

var (
	secretByName = prepare(`SELECT doc FROM secrets WHERE org = ?1 AND name = ?2`)
	secrets      = prepare(`SELECT doc FROM secrets WHERE org = ?1 ORDER BY name`)
	putSecret    = prepare(`INSERT INTO secrets (org, name, doc) VALUES (?1, ?2, ?3) ON CONFLICT (org, name) DO UPDATE SET doc = excluded.doc`)
)

func (r reader) Secret(name string) (store.Secret, error) {
	return one[store.Secret](r, secretByName, name)
}

func (r reader) Secrets() ([]store.Secret, error) { return all[store.Secret](r, secrets) }

func (t *tx) PutSecret(s store.Secret) error { return t.put(putSecret, s, s.Name) }
