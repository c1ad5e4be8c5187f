package expr

import "regexp"

// secretRead is the one form in which a secret is named.
var secretRead = regexp.MustCompile(`^\s*secrets\s*(?:\.\s*([A-Za-z_][A-Za-z0-9_]*)|\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\])\s*$`)

// SecretName is the name of the secret that an expression is and nothing else:
// secrets.token, or secrets["deploy-token"]. Such a one is not compiled: whoever puts the
// value in does that where the step runs, so that no expression can tell anything of it.
func SecretName(source string) (name string, is bool) {
	m := secretRead.FindStringSubmatch(source)
	if m == nil {
		return "", false
	}
	return m[1] + m[2] + m[3], true
}
