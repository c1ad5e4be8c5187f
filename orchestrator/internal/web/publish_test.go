package web_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// upload posts a file by the form of the plugins' page, and returns where that leads or what is said.
func (p *person) upload(field, name string, file []byte, status int) string {
	p.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile(field, name)
	if err == nil {
		_, err = part.Write(file)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.base+"/plugins", &b)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "text/html")
	answer, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	var said bytes.Buffer
	if _, err := said.ReadFrom(answer.Body); err != nil || answer.StatusCode != status {
		p.t.Errorf("upload of %s as %s: %s, %v, want %d\n%s", name, field, answer.Status, err, status, said.String())
	}
	return answer.Header.Get("Location") + said.String()
}

// A package is published by its page, which says how versions differ in what they ask for.
func TestPublish(t *testing.T) {
	s, admin := dashboard(t)
	const asks = "permissions: {network: ['a.example:443']}"
	for version, more := range map[string][]string{"1.0.0": {asks}, "1.1.0": {"permissions: {network: ['b.example:443']}"}} {
		if to := admin.upload("package", "cleaner.tgz", packtest.Pack(t, "cleaner", version, nil, more...), http.StatusSeeOther); to != "/plugins/cleaner" {
			t.Errorf("it leads to %s", to)
		}
	}
	same := packtest.Pack(t, "cleaner", "1.0.0", nil, asks)
	admin.upload("package", "again.tgz", same, http.StatusSeeOther)
	var published operatorapi.Plugin
	s.Do(http.MethodGet, "/api/v1/plugins/cleaner", nil, &published)
	if len(published.Versions) != 2 {
		t.Fatalf("published are %+v", published.Versions)
	}
	page := admin.get("/plugins/cleaner?from=1.0.0&to=1.1.0", http.StatusOK)
	_, page, _ = strings.Cut(page, `id="asks"`)
	if add, del := strings.Index(page, "b.example:443"), strings.Index(page, "a.example:443"); add < 0 || del < add {
		t.Errorf("the page does not say what 1.1.0 asks for that 1.0.0 does not, and the other way round:\n%s", page)
	}
	if page := admin.get("/plugins/cleaner?from=1.1.0&to=1.1.0", http.StatusOK); !strings.Contains(page, "Both ask for the same.") {
		t.Errorf("a version differs from itself:\n%s", page)
	}
	admin.get("/plugins/cleaner?from=9.9.9", http.StatusNotFound)

	for said, form := range map[string]struct {
		field string
		file  []byte
	}{"The package is not taken": {"package", []byte("no package")}, "No file was chosen": {"other", same}, "published with other content": {"package", packtest.Pack(t, "cleaner", "1.0.0", nil)}} {
		status := http.StatusUnprocessableEntity
		if strings.HasPrefix(said, "published") {
			status = http.StatusConflict
		}
		if page := admin.upload(form.field, "x.tgz", form.file, status); !strings.Contains(page, said) {
			t.Errorf("the page does not say %q:\n%s", said, page)
		}
	}
	admin.post("/plugins", url.Values{"package": {"x"}}, http.StatusBadRequest)

	invited(t, s, account.Operator).upload("package", "x.tgz", same, http.StatusForbidden)
}
