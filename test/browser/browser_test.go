package browser

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// limit is how long a page may take to show what is waited for, on a busy machine.
const limit = time.Minute

// browser is one tab of Chromium, and what it has complained of.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex // guards the fields below
	trouble  []string
	expected map[int64]bool // statuses of refusals that the test provokes
	shots    int
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs Chromium: apt-get install chromium")
	return ""
}

// open starts Chromium, which trusts the one certificate that the server shows.
func open(t *testing.T, base string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.WindowSize(1280, 900),
		chromedp.Flag("ignore-certificate-errors-spki-list", pin(t, base)), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	b := &browser{t: t, base: base, expected: map[int64]bool{}}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	t.Cleanup(b.calm)
	if err := chromedp.Do(b.ctx, command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{})); err != nil {
		t.Fatal(err)
	}
	return b
}

// command is a command of the protocol of which the answer does not matter.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// pin is the hash of the key of the certificate that the server shows.
func pin(t *testing.T, base string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true}) // to see which it is
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// hear notes what no page may do.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	note := func(format string, args ...any) { b.trouble = append(b.trouble, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		note("console.%s: %v", e.Type, e.Args)
	case *runtime.EventExceptionThrown:
		note("exception: %s %s:%d", e.ExceptionDetails.Text, e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber)
	case *log.EventEntryAdded: // violations of the policy and resources that do not load
		for status := range b.expected {
			if strings.Contains(e.Entry.Text, fmt.Sprintf("status of %d", status)) {
				return
			}
		}
		if !strings.HasPrefix(e.Entry.Text, "[DOM] Input elements should have autocomplete") {
			note("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.base+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
			note("asks another host: %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 && !b.expected[e.Response.Status] {
			note("%d for %s", e.Response.Status, e.Response.URL)
		}
	case *page.EventJavascriptDialogOpening:
		go func() { // what data-confirm asks
			_ = chromedp.Do(b.ctx, command(page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true}))
		}()
	}
}

// provoke lets the server refuse with a status from now on.
func (b *browser) provoke(status int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected[status] = true
}

// calm fails the test when a page did what none may.
func (b *browser) calm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.trouble {
		b.t.Error(one)
	}
}

// do runs actions that take no longer than limit.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(err)
	}
}

func (b *browser) fail(err error) {
	b.t.Helper()
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	b.t.Fatalf("%v; the page is\n%s", err, text)
}

// visit opens a page.
func (b *browser) visit(path string) { b.t.Helper(); b.do(chromedp.Navigate(b.base + path)) }

// see waits until the page has a text.
func (b *browser) see(text string) {
	b.t.Helper()
	b.until(`document.body.innerText.includes(%q)`, text)
}

// until waits for an expression of JavaScript, on whatever page the browser comes to.
func (b *browser) until(format string, args ...any) {
	b.t.Helper()
	expression := fmt.Sprintf(format, args...)
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	for {
		holds, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.readyState === "complete" && Boolean(`+expression+")"))
		if holds {
			return
		}
		select {
		case <-ctx.Done():
			b.fail(fmt.Errorf("waited for %s: %w", expression, errors.Join(ctx.Err(), err)))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fill puts a text into a field, whatever is in it.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.until(`document.querySelector(%q)`, selector)
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
		`{const f=document.querySelector(%q); f.focus(); f.value=%q; f.dispatchEvent(new Event("input",{bubbles:true}))}`, selector, text)))
}

// press clicks the button or link that has a text, as a person with a mouse does.
func (b *browser) press(text string) {
	b.t.Helper()
	on := chromedp.Search(fmt.Sprintf(`//*[self::button or self::a or self::summary][normalize-space(.)="%s"]`, text))
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.ScrollIntoView(on), chromedp.Click(on))
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "-32000") { // a live page has changed between the look and the click
			b.fail(fmt.Errorf("press %s: %w", text, err))
		}
	}
}

// value is what an expression of JavaScript comes to.
func (b *browser) value(expression string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => String(`+expression+`))()`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(err)
	}
	return text
}

// shoot keeps a picture of the page, light and dark, on a desk and on a phone.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("STAVILY_SCREENSHOTS")
	if dir == "" {
		return
	}
	b.shots++
	for _, look := range []struct {
		suffix, scheme string
		width, height  int64
	}{{"", "light", 1280, 900}, {"-dark", "dark", 1280, 900}, {"-phone", "light", 390, 844}} {
		b.do(chromedp.EmulateViewport(look.width, look.height), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}},
		}))
		picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			b.fail(err)
		}
		file := filepath.Join(dir, fmt.Sprintf("%02d-%s%s.png", b.shots, name, look.suffix))
		if err := os.WriteFile(file, picture, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	b.do(chromedp.EmulateViewport(1280, 900), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{}))
}
