package sim_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// start opens an upload session and returns where it is.
func (l *lab) start(path string) string {
	l.t.Helper()
	got := l.want(l.as("POST", path, nil, ""), 202, "")
	location := got.Header.Get("Location")
	if !strings.HasPrefix(location, "/v2/shop/cart/blobs/uploads/") || got.Header.Get("Docker-Upload-Uuid") == "" || got.Header.Get("Range") != "0-0" {
		l.t.Fatalf("session: %v", got.Header)
	}
	return location
}

func TestUpload(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	const uploads = "/v2/shop/cart/blobs/uploads/"
	content := "0123456789"
	stored := func(got reply) {
		t.Helper()
		l.want(got, 201, "")
		if got.Header.Get("Docker-Content-Digest") != sha(content) || got.Header.Get("Location") != "/v2/shop/cart/blobs/"+sha(content) {
			t.Errorf("stored: %v", got.Header)
		}
		if b, ok := l.registry.Blob("shop/cart", sha(content)); !ok || string(b) != content {
			t.Errorf("stored %q", b)
		}
		l.registry.RemoveBlob("shop/cart", sha(content))
	}

	t.Run("one PUT", func(t *testing.T) {
		location := l.start(uploads)
		stored(l.as("PUT", location+"&digest="+sha(content), nil, content))
		l.want(l.as("GET", location, nil, ""), 404, "BLOB_UPLOAD_UNKNOWN")
	})
	t.Run("chunks", func(t *testing.T) {
		got := l.want(l.as("PATCH", l.start(strings.TrimSuffix(uploads, "/")), header{"Content-Range": "0-3"}, content[:4]), 202, "")
		if got.Header.Get("Range") != "0-3" {
			t.Errorf("Range %q", got.Header.Get("Range"))
		}
		location := got.Header.Get("Location")
		if got := l.want(l.as("GET", location, nil, ""), 204, ""); got.Header.Get("Range") != "0-3" || got.Header.Get("Location") == "" {
			t.Errorf("status: %v", got.Header)
		}
		if got := l.want(l.as("PATCH", location, header{"Content-Range": "5-9"}, content[5:]), 416, "BLOB_UPLOAD_INVALID"); got.Header.Get("Range") != "0-3" {
			t.Errorf("Range %q", got.Header.Get("Range"))
		}
		l.want(l.as("PUT", location+"&digest="+sha(content), header{"Content-Range": "3-9"}, content[3:]), 416, "BLOB_UPLOAD_INVALID")
		location = l.as("PATCH", location, nil, content[4:8]).Header.Get("Location")
		stored(l.as("PUT", location+"&digest="+sha(content), nil, content[8:]))
	})
	t.Run("a body with the POST is not taken", func(t *testing.T) {
		got := l.want(l.as("POST", uploads+"?digest="+sha(content), nil, content), 202, "")
		stored(l.as("PUT", got.Header.Get("Location")+"&digest="+sha(content), nil, content))
	})
	t.Run("refused", func(t *testing.T) {
		location := l.start(uploads)
		l.want(l.as("PUT", location+"&digest="+sha("other"), nil, content), 400, "DIGEST_INVALID")
		l.want(l.as("PUT", location+"&digest="+sha(content), nil, content), 404, "BLOB_UPLOAD_INVALID")
		l.want(l.as("PUT", l.start(uploads), nil, content), 400, "DIGEST_INVALID")
		bare, _, _ := strings.Cut(l.start(uploads), "?")
		l.want(l.as("PUT", bare+"?digest="+sha(content), nil, content), 404, "BLOB_UPLOAD_INVALID")
		l.want(l.as("PATCH", uploads+"none", nil, content), 404, "BLOB_UPLOAD_UNKNOWN")
		l.want(l.as("PUT", strings.Replace(l.start(uploads), "/cart/", "/basket/", 1), nil, content), 404, "BLOB_UPLOAD_UNKNOWN")
		l.want(l.as("GET", uploads, nil, ""), 405, "UNSUPPORTED")
	})
	t.Run("given up", func(t *testing.T) {
		location := l.start(uploads)
		l.want(l.as("DELETE", location, nil, ""), 204, "")
		l.want(l.as("GET", location, nil, ""), 404, "BLOB_UPLOAD_UNKNOWN")
	})
	t.Run("broken", func(t *testing.T) {
		location := l.start(uploads)
		body := io.MultiReader(strings.NewReader(content[:5]), errorReader{})
		req, err := http.NewRequest("PUT", "https://"+labHost+location+"&digest="+sha(content), body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(len(content))
		req.SetBasicAuth("ci", "secret")
		if _, err := l.client.Do(req); err == nil {
			t.Fatal("a broken body was sent")
		}
		// The server learns of it a moment later.
		for deadline := time.Now().Add(time.Minute); ; {
			got := l.as("GET", location, nil, "")
			if got.Status == 404 {
				l.want(got, 404, "BLOB_UPLOAD_INVALID")
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the session lives on")
			}
			time.Sleep(time.Millisecond)
		}
		if _, ok := l.registry.Blob("shop/cart", sha(content)); ok {
			t.Error("half a blob is there")
		}
	})
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestMount(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.stock()
	l.registry.PutBlob("secret/base", []byte("base"))
	for _, test := range []struct {
		name, repository, query string
		status                  int
		code                    string
	}{
		{"from another", "shop/basket", "?mount=" + sha("one") + "&from=shop/cart", 201, ""},
		{"from itself", "shop/cart", "?mount=" + sha("one") + "&from=shop/cart", 201, ""},
		{"not there", "shop/basket", "?mount=" + sha("three") + "&from=shop/cart", 202, ""},
		{"not in itself", "shop/cart", "?mount=" + sha("three") + "&from=shop/cart", 202, ""},
		{"from nowhere", "shop/cart", "?mount=" + sha("one"), 202, ""},
		{"from what may not be read", "shop/cart", "?mount=" + sha("base") + "&from=secret/base", 401, "UNAUTHORIZED"},
	} {
		got := l.as("POST", "/v2/"+test.repository+"/blobs/uploads/"+test.query, nil, "")
		if got.Status != test.status || got.code() != test.code {
			t.Errorf("%s: got %d %s", test.name, got.Status, got.Body)
		}
		if test.status == 201 {
			if _, ok := l.registry.Blob(test.repository, sha("one")); !ok {
				t.Errorf("%s: it is not there", test.name)
			}
		}
	}
}

func TestBlobDownload(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	l.stock()
	path := "/v2/shop/cart/blobs/" + sha("one")
	got := l.want(l.as("HEAD", path, nil, ""), 200, "")
	if got.Header.Get("Content-Length") != "3" || got.Header.Get("Docker-Content-Digest") != sha("one") {
		t.Errorf("HEAD: %v", got.Header)
	}
	got = l.want(l.as("GET", path, nil, ""), 307, "")
	location := got.Header.Get("Location")
	if !strings.HasPrefix(location, "https://contoso.blob.core.windows.net/") {
		t.Fatalf("Location %q", location)
	}
	for _, test := range []struct {
		name, method, address string
		header                header
		status                int
		body                  string
	}{
		{"good", "GET", location, nil, 200, "one"},
		{"HEAD", "HEAD", location, nil, 200, ""},
		{"range", "GET", location, header{"Range": "bytes=1-"}, 206, "ne"},
		{"range beyond", "GET", location, header{"Range": "bytes=9-"}, 416, "invalid range: failed to overlap\n"},
		{"with Basic", "GET", location, header{"Authorization": basic("ci", "secret")}, 400, "InvalidAuthenticationInfo"},
		{"with Bearer", "GET", location, header{"Authorization": "Bearer x"}, 400, "InvalidAuthenticationInfo"},
		{"another blob", "GET", strings.Replace(location, strings.TrimPrefix(sha("one"), "sha256:"), strings.TrimPrefix(sha("two"), "sha256:"), 1), nil, 403, "AuthenticationFailed"},
		{"unsigned", "GET", strings.Split(location, "?")[0], nil, 403, "AuthenticationFailed"},
		{"PUT", "PUT", location, nil, 405, "UnsupportedHttpVerb"},
	} {
		got := l.do(test.method, test.address, test.header, "")
		if got.Status != test.status || !strings.Contains(got.Body, test.body) || test.status < 300 && got.Body != test.body {
			t.Errorf("%s: got %d %q", test.name, got.Status, got.Body)
		}
	}
	l.registry.ExpireDownloads()
	if got := l.do("GET", location, nil, ""); got.Status != 403 {
		t.Errorf("expired: got %d", got.Status)
	}
	if got := l.do("GET", l.as("GET", path, nil, "").Header.Get("Location"), nil, ""); got.Body != "one" {
		t.Errorf("asked again: got %d %q", got.Status, got.Body)
	}
	l.want(l.as("GET", "/v2/shop/cart/blobs/"+sha("three"), nil, ""), 404, "BLOB_UNKNOWN")
	l.want(l.as("GET", "/v2/shop/basket/blobs/"+sha("one"), nil, ""), 404, "BLOB_UNKNOWN")
	l.want(l.as("GET", "/v2/shop/cart/blobs/sha256:1", nil, ""), 400, "DIGEST_INVALID")
	l.want(l.as("DELETE", path, nil, ""), 202, "")
	l.want(l.as("HEAD", path, nil, ""), 404, "")
	l.want(l.as("PUT", "/v2/shop/cart/blobs/"+sha("two"), nil, ""), 405, "UNSUPPORTED")

	past := startLab(t, sim.RegistryOptions{DownloadLifetime: -time.Second, StorageHost: "storage.example"})
	past.stock()
	location = past.as("GET", path, nil, "").Header.Get("Location")
	if got := past.do("GET", location, nil, ""); !strings.HasPrefix(location, "https://storage.example/") || got.Status != 403 {
		t.Errorf("%s: got %d", location, got.Status)
	}
}

func TestBigBlobsLieInFiles(t *testing.T) {
	folder := t.TempDir()
	cloud, err := sim.Start(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	l := &lab{t: t, cloud: cloud, registry: cloud.Registry(labHost, sim.RegistryOptions{}), client: cloud.Network("n", labIP).Client()}
	l.registry.AddUser("ci", "secret")
	l.registry.Grant("ci", "**", sim.AcrPush...)
	content := strings.Repeat("0123456789abcdef", 1<<20)
	for range 2 { // the same again leaves no second file
		location := l.start("/v2/shop/cart/blobs/uploads/")
		half := l.want(l.as("PATCH", location, nil, content[:len(content)/2]), 202, "")
		l.want(l.as("PUT", half.Header.Get("Location")+"&digest="+sha(content), nil, content[len(content)/2:]), 201, "")
	}
	if files, _ := filepath.Glob(filepath.Join(folder, "blob-*")); len(files) != 1 {
		t.Errorf("files %q", files)
	}
	// The client follows to the storage, and drops its password on the way.
	got := l.as("GET", "/v2/shop/cart/blobs/"+sha(content), header{"Range": fmt.Sprintf("bytes=%d-", len(content)-4)}, "")
	if got.Status != 206 || got.Body != "cdef" {
		t.Errorf("range: got %d %q", got.Status, got.Body)
	}
	if got := l.as("GET", "/v2/shop/cart/blobs/"+sha(content), nil, ""); got.Status != 200 || got.Body != content {
		t.Errorf("whole: got %d and %d bytes", got.Status, len(got.Body))
	}
	cloud.Close()
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
