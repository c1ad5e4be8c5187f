package server

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/retention"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// ArchiveName is the name of the archive's directory beside the packages, where none is named.
const ArchiveName = "archive"

// NoArchive is Options.ArchiveDir of a server that removes without an archive.
const NoArchive = "none"

// forget removes what was kept long enough, as long as the server runs.
func forget(o Options, e *engine.Engine, registry *telemetry.Registry) (func(context.Context) error, error) {
	keep := o.Keep
	if err := keep.Validate(); err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}
	keep.Logger, keep.Metrics = o.Logger, registry
	switch o.ArchiveDir {
	case NoArchive:
	case "":
		keep.Archive = filepath.Join(cmp.Or(o.SharedDir, o.DataDir), ArchiveName)
	default:
		keep.Archive = o.ArchiveDir
	}
	return retention.New(e, keep).Run, nil
}
