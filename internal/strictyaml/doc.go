// Package strictyaml loads YAML that people write by hand — configuration,
// manifests, workflows — so that every mistake is found at once and said with
// file, line and column.
//
// It owns: the size bound, refusing unknown and duplicate keys (with "did you
// mean"), a second document, anchors and aliases (they are how small files become
// large ones), and turning the library's messages into sentences. It does not
// check meaning; callers do that on the decoded value and report with
// [Doc.Errorf], which knows where each value stood.
//
// The YAML library (go.yaml.in/yaml/v4) is imported by this package and by types
// that decode themselves, and nowhere else. Nothing here keeps state; all of it
// may be called concurrently.
package strictyaml
