package store

import "time"

// User is a person, or a program, who may operate an organisation. It belongs to that one
// alone; the same name in another is somebody else.
type User struct {
	Name      string
	Role      string // of package account
	Groups    []string
	Password  string `json:",omitempty"` // argon2id, in the PHC form; "": none, so nobody can log in with one
	Subject   string `json:",omitempty"` // issuer and subject of the OpenID provider that vouches for it
	Disabled  bool   `json:",omitempty"`
	CreatedAt time.Time
	CreatedBy string
	LoginAt   time.Time
}

// Credential is something with which a user shows who it is. It is not kept, only its hash.
type Credential struct {
	Hash      string // SHA-256, hex
	Kind      string // of package account: session, token or invitation
	User      string
	Name      string   `json:",omitempty"` // of a token
	Role      string   `json:",omitempty"` // it gives at most this one; "": that of the user
	Areas     []string `json:",omitempty"` // parts of the API that it is for; none: all
	Note      string   `json:",omitempty"`
	CreatedAt time.Time
	CreatedBy string
	ExpiresAt time.Time
	UsedAt    time.Time
	Address   string `json:",omitempty"` // that it was used from last
}

// AccountReader reads users and their credentials.
type AccountReader interface {
	User(name string) (User, error)
	Users() ([]User, error) // by name
	Credential(hash string) (Credential, error)
	// Credentials lists those of a user, or of all where it is empty, newest first.
	Credentials(user string) ([]Credential, error)
}

// AccountWriter writes them. The Drop… of what is not there does nothing.
type AccountWriter interface {
	PutUser(User) error
	DropUser(name string) error
	PutCredential(Credential) error
	DropCredential(hash string) error
	// DropCredentials drops those of all users that have ended by a time.
	DropCredentials(by time.Time) error
}
