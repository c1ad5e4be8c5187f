package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// The part of CycloneDX 1.5 that says what a Go program is made of.
type (
	bill struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Version    string     `json:"version,omitempty"`
		PURL       string     `json:"purl,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// billOf lists what is linked into a program, as the program says itself.
func billOf(p program, at time.Time) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(p.text))
	if err != nil {
		return nil, fmt.Errorf("what it is built from: %w", err)
	}
	if len(info.Deps) == 0 {
		return nil, fmt.Errorf("what it is built from: it names no module")
	}
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: metadata{
		Timestamp: at.Format(time.RFC3339),
		Component: component{
			Type: "application", Name: p.file, PURL: "pkg:golang/" + info.Main.Path,
			Hashes: []hash{{"SHA-256", fmt.Sprintf("%x", sha256.Sum256(p.text))}},
		},
	}}
	b.Components = append(b.Components, component{
		Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
	})
	for _, m := range info.Deps {
		b.Components = append(b.Components, linked(m))
	}
	out, err := json.MarshalIndent(b, "", "  ")
	return append(out, '\n'), err
}

func linked(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	return component{
		Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version,
		Properties: []property{{"go:sum", m.Sum}},
	}
}
