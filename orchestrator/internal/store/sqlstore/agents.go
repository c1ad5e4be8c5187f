package sqlstore

import (
	"cmp"
	"math"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	agentByID = prepare(`SELECT doc FROM agents WHERE org = ?1 AND id = ?2`)
	allAgents = prepare(`SELECT doc FROM agents WHERE org = ?1 ORDER BY id`)
	putAgent  = prepare(`INSERT INTO agents (org, id, doc) VALUES (?1, ?2, ?3)
		ON CONFLICT (org, id) DO UPDATE SET doc = excluded.doc`)

	tokenByHash = prepare(`SELECT doc FROM tokens WHERE org = ?1 AND hash = ?2`)
	allTokens   = prepare(`SELECT doc FROM tokens WHERE org = ?1 ORDER BY created DESC, hash`)
	putToken    = prepare(`INSERT INTO tokens (org, hash, created, doc) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT (org, hash) DO UPDATE SET created = excluded.created, doc = excluded.doc`)

	auditAfter  = prepare(`SELECT doc FROM audit WHERE org = ?1 AND n > ?2 ORDER BY n LIMIT ?3`)
	auditBefore = prepare(`SELECT doc FROM audit WHERE org = ?1 AND n < ?2 ORDER BY n DESC LIMIT ?3`)
	lastAudit   = prepare(`SELECT COALESCE(MAX(n), 0) FROM audit WHERE org = ?1`)
	addAudit    = prepare(`INSERT INTO audit (org, n, doc) VALUES (?1, ?2, ?3)`)
)

func (r reader) Agent(id api.AgentID) (store.Agent, error) { return one[store.Agent](r, agentByID, id) }
func (r reader) Agents() ([]store.Agent, error)            { return all[store.Agent](r, allAgents) }

func (t *tx) PutAgent(a store.Agent) error {
	t.recent.agents.note(t.org, a.ID, a, agentLives(a))
	return t.put(putAgent, a, a.ID)
}

func (r reader) Token(hash string) (store.Token, error) {
	return one[store.Token](r, tokenByHash, hash)
}
func (r reader) Tokens() ([]store.Token, error) { return all[store.Token](r, allTokens) }
func (t *tx) PutToken(k store.Token) error {
	return t.put(putToken, k, k.Hash, k.CreatedAt.UnixNano())
}

func (r reader) Audit(after int64, limit int) ([]store.Audit, error) {
	return all[store.Audit](r, auditAfter, after, store.PageSize(limit))
}

func (r reader) AuditBefore(before int64, limit int) ([]store.Audit, error) {
	return all[store.Audit](r, auditBefore, cmp.Or(before, math.MaxInt64), store.PageSize(limit))
}

func (t *tx) AddAudit(a store.Audit) (err error) {
	if a.Seq, err = t.number(lastAudit); err != nil {
		return err
	}
	for _, text := range []*string{&a.Actor, &a.Action, &a.Object, &a.Detail} {
		*text = strings.ToValidUTF8(*text, "\ufffd") // as JSON would, which the digest is of
	}
	if a.Prev, err = t.lastDigest(); err != nil {
		return err
	}
	if err := t.put(addAudit, a, a.Seq); err != nil {
		return err
	}
	t.digests[t.org] = a.Digest()
	return nil
}

// lastDigest is of the newest audit record. The writer remembers it as it does numbers.
func (t *tx) lastDigest() (string, error) {
	if digest, known := t.digests[t.org]; known {
		return digest, nil
	}
	last, err := t.AuditBefore(0, 1)
	if err != nil || len(last) == 0 {
		return store.NoAudit, err
	}
	return last[0].Digest(), nil
}
