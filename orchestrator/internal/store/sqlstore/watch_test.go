package sqlstore

import (
	"strings"
	"testing"
)

// Every statement has the name of what it does to which table, by which people find it.
func TestStatementsHaveNames(t *testing.T) {
	for _, text := range Texts() {
		verb, table, _ := strings.Cut(nameOf(text), " ")
		if !strings.Contains(strings.ToLower(text), verb) || table == "" || !strings.Contains(text, " "+table) {
			t.Errorf("%q is the name of %s", nameOf(text), text)
		}
	}
	for text, want := range map[string]string{
		"SELECT COUNT(*) FROM (SELECT 1 FROM runs WHERE org = ?1) AS found":      "select runs",
		"INSERT INTO agents (org, id) VALUES (?1, ?2)\n\tON CONFLICT DO NOTHING": "insert agents",
		"UPDATE workflows SET deleted = 1":                                       "update workflows",
		"DELETE FROM cooldowns WHERE (org, key) IN\n(SELECT org, key FROM x)":    "delete cooldowns",
	} {
		if got := nameOf(text); got != want {
			t.Errorf("%q is the name of %s, want %q", got, text, want)
		}
	}
}
