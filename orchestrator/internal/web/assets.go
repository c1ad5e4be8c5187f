package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

//go:embed static
var static embed.FS

// hashLength is how many hexadecimal digits of a file's hash are in its name: enough that
// no two states of a file ever share one.
const hashLength = 16

// assets are the embedded files.
type assets struct {
	content map[string]asset  // by name with hash
	names   map[string]string // name with hash, by plain name
}

type asset struct {
	kind string
	body []byte
}

func readAssets() (assets, error) {
	a := assets{map[string]asset{}, map[string]string{}}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		return a, fmt.Errorf("embedded files of the dashboard: %w", err)
	}
	for _, e := range entries {
		body, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			return a, fmt.Errorf("embedded files of the dashboard: %w", err)
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:])[:hashLength] + ext
		a.content[name] = asset{kind: kindOf(ext), body: body}
		a.names[e.Name()] = name
	}
	return a, nil
}

// kindOf is the type of a file, which may not depend on what the host says of it.
func kindOf(ext string) string {
	switch ext {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(ext)
}

// url is where a file is.
func (a assets) url(name string) (string, error) {
	hashed, ok := a.names[name]
	if !ok {
		return "", fmt.Errorf("the dashboard has no file %q", name)
	}
	return "/assets/" + hashed, nil
}

// asset serves one file, of which the browser never needs to ask again.
func (s *Site) asset(_ context.Context, c *route.Call) (any, error) {
	a, ok := s.assets.content[c.PathValue("name")]
	if !ok {
		return nil, api.Errorf(api.CodeNotFound, "There is no file %.80q; reload the page that names it.", c.PathValue("name"))
	}
	return &route.Document{Type: a.kind, Body: a.body, Header: http.Header{"Cache-Control": {"public, max-age=31536000, immutable"}}}, nil
}
