package instruction

import (
	"fmt"
	"regexp"
	"slices"
)

// SecretText is a text of the input that secrets are part of. In Input its place holds
// what people are shown; the text is put there by the agent that runs the instruction.
type SecretText struct {
	Path   []string      `json:"path"` // keys of objects and indexes of lists
	Pieces []SecretPiece `json:"pieces"`
}

// SecretPiece is text, or a secret by its name.
type SecretPiece struct {
	Text    string `json:"text,omitempty"`
	Secret  string `json:"secret,omitempty"`
	Version int    `json:"version,omitempty"` // the one that was approved; 0: the one that is current at the claim
}

// SecretNames are the secrets that the instruction needs, each once.
func (s Spec) SecretNames() []string {
	var names []string
	for _, t := range s.Secrets {
		for _, p := range t.Pieces {
			if p.Secret != "" {
				names = append(names, p.Secret)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var secretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,62}$`)

// CheckSecretName says what is wrong with the name of a secret.
func CheckSecretName(name string) error {
	if !secretName.MatchString(name) {
		return fmt.Errorf("secret name %.80q: must be 1 to 63 characters of A-Z, a-z, 0-9, '_' and '-', beginning with a letter or '_'", name)
	}
	return nil
}
