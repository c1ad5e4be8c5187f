package sqlstore

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	packageByVersion = prepare(`SELECT doc FROM packages WHERE org = ?1 AND id = ?2 AND version = ?3`)
	packagesOf       = prepare(`SELECT doc FROM packages WHERE org = ?1 AND id = ?2 ORDER BY published DESC, version`)
	allPackages      = prepare(`SELECT doc FROM packages WHERE org = ?1 ORDER BY id, published DESC, version`)
	packageByDigest  = prepare(`SELECT 1 FROM packages WHERE org = ?1 AND digest = ?2 LIMIT 1`)
	addPackage       = prepare(`INSERT INTO packages (org, id, version, digest, published, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING`)
	putPackage       = prepare(`INSERT INTO packages (org, id, version, digest, published, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (org, id, version) DO UPDATE SET digest = excluded.digest, published = excluded.published, doc = excluded.doc`)
	deletePackage = prepare(`DELETE FROM packages WHERE org = ?1 AND id = ?2 AND version = ?3`)

	assignmentByKey = prepare(`SELECT doc FROM assignments WHERE org = ?1 AND plugin = ?2 AND selector = ?3`)
	allAssignments  = prepare(`SELECT doc FROM assignments WHERE org = ?1 ORDER BY plugin, selector`)
	dueAssignments  = prepare(`SELECT doc FROM assignments WHERE org = ?1 AND due <= ?2 ORDER BY due`)
	nextAssignment  = prepare(`SELECT due FROM assignments WHERE org = ?1 AND due IS NOT NULL ORDER BY due LIMIT 1`)
	putAssignment   = prepare(`INSERT INTO assignments (org, plugin, selector, due, doc) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (org, plugin, selector) DO UPDATE SET due = excluded.due, doc = excluded.doc`)
	deleteAssignment  = prepare(`DELETE FROM assignments WHERE org = ?1 AND plugin = ?2 AND selector = ?3`)
	hastenAssignments = prepare(`UPDATE assignments SET due = ?3 WHERE org = ?1 AND plugin = ?2 AND due > ?3`)

	allPublishers = prepare(`SELECT doc FROM publishers WHERE org = ?1 ORDER BY fingerprint`)
	putPublisher  = prepare(`INSERT INTO publishers (org, fingerprint, doc) VALUES (?1, ?2, ?3)
		ON CONFLICT (org, fingerprint) DO UPDATE SET doc = excluded.doc`)
	deletePublisher = prepare(`DELETE FROM publishers WHERE org = ?1 AND fingerprint = ?2`)
)

func (r reader) Package(id api.PluginID, version string) (store.Package, error) {
	return one[store.Package](r, packageByVersion, id, version)
}

func (r reader) Packages(id api.PluginID) ([]store.Package, error) {
	if id == "" {
		return all[store.Package](r, allPackages)
	}
	return all[store.Package](r, packagesOf, id)
}

func (r reader) HasFile(digest string) (bool, error) {
	var one int
	return value(r.session, packageByDigest, &one, r.org, digest)
}

func (t *tx) AddPackage(p store.Package) error {
	return t.add(addPackage, p, p.ID, p.Version, p.Digest, p.PublishedAt.UnixNano())
}

func (t *tx) PutPackage(p store.Package) error {
	return t.put(putPackage, p, p.ID, p.Version, p.Digest, p.PublishedAt.UnixNano())
}

func (t *tx) DeletePackage(id api.PluginID, version string) error {
	return t.remove(deletePackage, id, version)
}

func (r reader) Assignment(plugin api.PluginID, s store.Selector) (store.Assignment, error) {
	return one[store.Assignment](r, assignmentByKey, plugin, s)
}

func (r reader) Assignments() ([]store.Assignment, error) {
	return all[store.Assignment](r, allAssignments)
}

func (r reader) DueAssignments(now time.Time) ([]store.Assignment, error) {
	return all[store.Assignment](r, dueAssignments, now.UnixNano())
}

func (r reader) NextDueAssignment() (time.Time, bool, error) {
	var at int64
	found, err := value(r.session, nextAssignment, &at, r.org)
	if err != nil || !found {
		return time.Time{}, false, err
	}
	return time.Unix(0, at).UTC(), true, nil
}

func (t *tx) PutAssignment(a store.Assignment) error {
	return t.put(putAssignment, a, a.Plugin, a.Selector, nanos(a.State.Due))
}

func (t *tx) DeleteAssignment(plugin api.PluginID, s store.Selector) error {
	return t.remove(deleteAssignment, plugin, s)
}

func (t *tx) HastenAssignments(plugin api.PluginID, at time.Time) error {
	return t.write(hastenAssignments, plugin, at.UnixNano())
}

func (r reader) Publishers() ([]store.Publisher, error) {
	return all[store.Publisher](r, allPublishers)
}

func (t *tx) PutPublisher(p store.Publisher) error { return t.put(putPublisher, p, p.Fingerprint) }

func (t *tx) DeletePublisher(fingerprint string) error {
	return t.remove(deletePublisher, fingerprint)
}

// remove deletes one record, and is ErrNotFound when there is none.
func (t *tx) remove(st Statement, key ...any) error {
	n, err := t.session.Change(st, append([]any{t.org}, key...)...)
	if err == nil && n == 0 {
		return store.ErrNotFound
	}
	return err
}
