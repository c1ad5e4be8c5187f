package web

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

// pluginPublish publishes the file of a form, which is read as it comes.
func (s *Site) pluginPublish(ctx context.Context, c *route.Call) (any, error) {
	file, err := fileOf(c, "package")
	if err != nil {
		return s.refused(ctx, c, err)
	}
	p, _, err := s.engine.Publish(ctx, c.Principal.Org, file)
	if err != nil {
		return s.refused(ctx, c, err)
	}
	if _, err := io.Copy(io.Discard, c.Upload); err != nil {
		return s.refused(ctx, c, err)
	}
	return redirect("/plugins/" + string(p.ID)), nil
}

// fileOf is the file that a form has in a field, which is its first.
func fileOf(c *route.Call, field string) (io.Reader, error) {
	kind, params, err := mime.ParseMediaType(c.Header("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, api.Errorf(api.CodeMalformed, "The body is %.80q and must be a form with a file: multipart/form-data.", c.Header("Content-Type"))
	}
	part, err := multipart.NewReader(c.Upload, params["boundary"]).NextPart()
	var refusal *api.Error
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case err != nil:
		return nil, api.Errorf(api.CodeMalformed, "The form cannot be read: %v.", err)
	case part.FormName() != field || part.FileName() == "":
		return nil, api.Errorf(api.CodeInvalid, "No file was chosen for the field %s; choose a package, as `stavily plugin pack` makes it.", field)
	}
	return part, nil
}
