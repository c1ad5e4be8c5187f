package pki

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// signLimit bounds one signature: a smart card takes two seconds, and the other side
// gives up a handshake after ten. A variable for tests.
var signLimit = 8 * time.Second

const (

	// maxAnswer bounds what the command prints: a signature of RSA 8192 in base64 takes
	// 1.4 KiB, its public key 1.5.
	maxAnswer = 16 << 10
)

// External is a private key that a command holds: a hardware module, a TPM, a key
// service. The command is started for each operation, gets one line of JSON on its
// standard input and answers with one line:
//
//	{"op":"public"}                              {"public_key":"-----BEGIN PUBLIC KEY-----\n…"}
//	{"op":"sign","scheme":"ecdsa","hash":"SHA-384","digest":"<base64>"}
//	                                             {"signature":"<base64>"}
//	anything                                     {"error":"a sentence"}
//
// scheme is ecdsa (a signature in ASN.1), rsa-pkcs1v15 or rsa-pss, with salt_length.
type External struct {
	Command []string // program and arguments; no shell in between
}

// signerRequest and signerAnswer are the two lines.
type signerRequest struct {
	Op         string `json:"op"`
	Scheme     string `json:"scheme,omitempty"`
	Hash       string `json:"hash,omitempty"`
	SaltLength int    `json:"salt_length,omitempty"`
	Digest     []byte `json:"digest,omitempty"`
}

type signerAnswer struct {
	PublicKey string `json:"public_key"`
	Signature []byte `json:"signature"`
	Error     string `json:"error"`
}

// Key asks the command for its public key and returns a signer with it.
func (e *External) Key() (crypto.Signer, error) {
	answer, err := e.ask(signerRequest{Op: "public"})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(answer.PublicKey))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, e.errorf("answered op public without a public_key in PEM of type PUBLIC KEY")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, e.errorf("answered with a public key that cannot be read: %w", err)
	}
	if err := checkStrength(public); err != nil {
		return nil, e.errorf("holds a key that %w", err)
	}
	return &externalKey{e, public}, nil
}

// externalKey signs with the key of a command.
type externalKey struct {
	holder *External
	public crypto.PublicKey
}

func (k *externalKey) Public() crypto.PublicKey { return k.public }

func (k *externalKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	request := signerRequest{Op: "sign", Scheme: "ecdsa", Hash: opts.HashFunc().String(), Digest: digest}
	if _, ok := k.public.(*rsa.PublicKey); ok {
		request.Scheme = "rsa-pkcs1v15"
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			request.Scheme, request.SaltLength = "rsa-pss", pss.SaltLength
			if pss.SaltLength == rsa.PSSSaltLengthEqualsHash {
				request.SaltLength = opts.HashFunc().Size()
			}
		}
	}
	answer, err := k.holder.ask(request)
	if err == nil && len(answer.Signature) == 0 {
		err = k.holder.errorf("answered op sign without a signature")
	}
	return answer.Signature, err
}

func (e *External) errorf(format string, args ...any) error {
	return fmt.Errorf("api.auth.signer_command %q: %w", e.Command[0], fmt.Errorf(format, args...))
}

// ask starts the command for one operation.
func (e *External) ask(r signerRequest) (answer signerAnswer, err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return answer, e.errorf("%w", err)
	}
	stdout, err := RunHelper(e.Command, append(line, '\n'))
	if err != nil {
		return answer, e.errorf("op %s: %w", r.Op, err)
	}
	first, _, _ := bytes.Cut(stdout, []byte("\n"))
	if err := limits.UnmarshalJSON(first, &answer); err != nil {
		return answer, e.errorf("op %s: its first line is not the JSON that is expected: %w", r.Op, err)
	}
	if answer.Error != "" {
		return answer, e.errorf("op %s: %.300s", r.Op, answer.Error)
	}
	return answer, nil
}

// RunHelper runs a command of the host's owner to its end and returns what it printed.
func RunHelper(command []string, stdin []byte) ([]byte, error) {
	stdout, stderr := limits.NewBuffer(maxAnswer), limits.NewBuffer(1<<10)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), stdout, stderr
	cmd.WaitDelay = time.Second // for what it started and left behind
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var late atomic.Bool
	stop := time.AfterFunc(signLimit, func() {
		late.Store(true)
		_ = cmd.Process.Kill() // that it has just ended is as good
	})
	defer stop.Stop()
	err := cmd.Wait()
	switch {
	case late.Load():
		return nil, fmt.Errorf("gave no answer within %s", signLimit)
	case err != nil:
		said := string(bytes.TrimSpace(stderr.Bytes()))
		return nil, fmt.Errorf("%w: %s", err, cmp.Or(said, "it said nothing on standard error"))
	case stdout.Dropped() > 0:
		return nil, errors.New("printed more than 16 KiB")
	}
	return stdout.Bytes(), nil
}
