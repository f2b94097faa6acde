package sim_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"acrpromote/internal/sim"
)

type entraCredential struct{}

func (entraCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "entra-token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestMetadataBodies(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	config := `{"architecture":"arm64","os":"linux"}`
	l.registry.PutBlob("shop/cart", []byte(config))
	body := strings.Replace(image(), sha("{}")+`","size":2`, sha(config)+`","size":37`, 1)
	digest := l.registry.Push("shop/cart", "1.0", ociImage, []byte(body))
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":1,"platform":{"architecture":"arm64","os":"linux"}}]}`, ociImage, digest)
	list := l.registry.Push("shop/cart", "list", ociIndex, []byte(index))
	when := `"createdTime":"2026-11-23T12:00:00.1234567Z","lastUpdateTime":"2026-11-23T12:00:00.1234567Z"`
	open := `"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}`
	tag := fmt.Sprintf(`{"name":"1.0","digest":%q,%s,"signed":false,%s}`, digest, when, open)
	for path, want := range map[string]string{
		"/acr/v1/shop%2Fcart":           `{` + open + `,"createdTime":"2026-11-23T12:00:00.1234567Z","imageName":"shop/cart","lastUpdateTime":"2026-11-23T12:00:00.1234567Z","manifestCount":2,"registry":"contoso.azurecr.io","tagCount":2}`,
		"/acr/v1/shop/cart/_tags/1.0":   `{"imageName":"shop/cart","registry":"contoso.azurecr.io","tag":` + tag + `}`,
		"/acr/v1/shop%2Fcart/_tags?n=1": `{"imageName":"shop/cart","registry":"contoso.azurecr.io","tags":[` + tag + `]}`,
		"/acr/v1/shop%2Fcart/_manifests/" + strings.Replace(digest, ":", "%3A", 1): `{"imageName":"shop/cart","manifest":{"digest":"` + digest + `","imageSize":37,` + when + `,"architecture":"arm64","os":"linux","mediaType":"` + ociImage + `","configMediaType":"application/vnd.oci.image.config.v1+json","tags":["1.0"],` + open + `},"registry":"contoso.azurecr.io"}`,
		"/acr/v1/shop/cart/_manifests/" + list:                                     `{"imageName":"shop/cart","manifest":{"digest":"` + list + `","imageSize":0,` + when + `,"mediaType":"` + ociIndex + `","tags":["list"],` + open + `,"references":[{"digest":"` + digest + `","architecture":"arm64","os":"linux"}]},"registry":"contoso.azurecr.io"}`,
	} {
		if got := l.as("GET", path, nil, ""); got.Status != 200 || got.Body != want {
			t.Errorf("%s: got %d\n%s\nwant\n%s", path, got.Status, got.Body, want)
		}
	}
	l.want(l.as("GET", "/acr/v1/shop%2Fcart/_tags/none", nil, ""), 404, "TAG_UNKNOWN")
	l.want(l.as("GET", "/acr/v1/shop%2Fcart/_manifests/"+sha("x"), nil, ""), 404, "MANIFEST_UNKNOWN")
	l.want(l.as("GET", "/acr/v1/shop%2Fnone", nil, ""), 404, "NAME_UNKNOWN")
	l.want(l.as("PATCH", "/acr/v1/shop%2Fcart/_tags", nil, "{}"), 405, "UNSUPPORTED")
	l.want(l.as("PATCH", "/acr/v1/shop%2Fcart/_tags/1.0", nil, ""), 400, "BAD_REQUEST")
}

func TestMetadataThroughTheSDK(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	l.registry.Grant("client-1", "shop/**", sim.RepositoryReader...)
	client, err := azcontainerregistry.NewClient("https://"+labHost, entraCredential{}, &azcontainerregistry.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: l.client, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	got, err := client.GetTagProperties(ctx, "shop/cart", "1.0", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Tag.Digest != digest || !got.Tag.CreatedOn.Equal(l.clock.Now()) || !*got.Tag.ChangeableAttributes.CanWrite {
		t.Errorf("tag %+v", got.Tag)
	}
	no := false
	lock := &azcontainerregistry.ClientUpdateTagPropertiesOptions{Value: &azcontainerregistry.TagWriteableProperties{CanWrite: &no, CanDelete: &no}}
	if _, err := client.UpdateTagProperties(ctx, "shop/cart", "1.0", lock); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a reader locks: %v", err)
	}
	l.registry.Grant("client-1", "shop/**", sim.RepositoryWriter...)
	client, err = azcontainerregistry.NewClient("https://"+labHost, entraCredential{}, &azcontainerregistry.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: l.client, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := l.registry.TagAttributes("shop/cart", "1.0")
	l.clock.Advance(time.Hour)
	locked, err := client.UpdateTagProperties(ctx, "shop/cart", "1.0", lock)
	if err != nil {
		t.Fatal(err)
	}
	if *locked.Tag.ChangeableAttributes.CanWrite || *locked.Tag.ChangeableAttributes.CanDelete || !*locked.Tag.ChangeableAttributes.CanRead {
		t.Errorf("locked %+v", locked.Tag.ChangeableAttributes)
	}
	after, _ := l.registry.TagAttributes("shop/cart", "1.0")
	if after.Write || after.Delete || !after.Read || !after.List || !after.Updated.Equal(before.Updated) {
		t.Errorf("attributes before %+v and after %+v", before, after)
	}
	// The client caches one access token whatever the scope: the answer 401
	// makes it ask for another.
	manifest, err := client.UpdateManifestProperties(ctx, "shop/cart", digest, &azcontainerregistry.ClientUpdateManifestPropertiesOptions{Value: &azcontainerregistry.ManifestWriteableProperties{CanDelete: &no}})
	if err != nil || *manifest.Manifest.ChangeableAttributes.CanDelete || !*manifest.Manifest.ChangeableAttributes.CanWrite {
		t.Errorf("manifest %+v, %v", manifest.Manifest, err)
	}
	var tags []string
	for pager := client.NewListTagsPager("shop/cart", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range page.Tags {
			tags = append(tags, *tag.Name)
		}
	}
	if !slices.Equal(tags, []string{"1.0"}) {
		t.Errorf("tags %q", tags)
	}
	exchanges := 0
	for _, r := range l.cloud.Requests() {
		if r.Method == http.MethodPost && r.Path == "/oauth2/exchange" {
			exchanges++
		}
	}
	if exchanges != 2 {
		t.Errorf("%d exchanges by 2 clients", exchanges)
	}
}

func TestLocks(t *testing.T) {
	const message = "The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation"
	equal, other := image("one", "two"), image("one")
	digest := sha(equal)
	const (
		tag        = "/acr/v1/shop%2Fcart/_tags/1.0"
		repository = "/acr/v1/shop%2Fcart"
	)
	manifest := "/acr/v1/shop%2Fcart/_manifests/" + digest
	noWrite, noDelete := `{"writeEnabled":false}`, `{"deleteEnabled":false}`
	for _, test := range []struct {
		name, locked, lock string
		method, path, body string
		refused            bool
	}{
		{"tag moves", tag, noWrite, "PUT", "/v2/shop/cart/manifests/1.0", other, true},
		{"tag put again", tag, noWrite, "PUT", "/v2/shop/cart/manifests/1.0", equal, true},
		{"another tag of the same image", tag, noWrite, "PUT", "/v2/shop/cart/manifests/2.0", equal, false},
		{"its manifest by digest", tag, noWrite, "PUT", "/v2/shop/cart/manifests/" + digest, equal, false},
		{"write-locked tag deleted", tag, noWrite, "DELETE", tag, "", true},
		{"delete-locked tag deleted", tag, noDelete, "DELETE", tag, "", true},
		{"delete-locked tag deleted as manifest", tag, noDelete, "DELETE", "/v2/shop/cart/manifests/1.0", "", true},
		{"its manifest deleted", tag, noDelete, "DELETE", "/v2/shop/cart/manifests/" + digest, "", true},
		{"delete-locked tag moves", tag, noDelete, "PUT", "/v2/shop/cart/manifests/1.0", other, false},
		{"manifest put again", manifest, noWrite, "PUT", "/v2/shop/cart/manifests/" + digest, equal, true},
		{"manifest under another tag", manifest, noWrite, "PUT", "/v2/shop/cart/manifests/2.0", equal, true},
		{"manifest's tag moves", manifest, noWrite, "PUT", "/v2/shop/cart/manifests/1.0", other, false},
		{"referrer of a locked manifest", manifest, `{"writeEnabled":false,"deleteEnabled":false}`, "PUT", "/v2/shop/cart/manifests/r", referrer(digest, "a/b", 1), false},
		{"manifest deleted", manifest, noDelete, "DELETE", "/v2/shop/cart/manifests/" + digest, "", true},
		{"delete-locked manifest put", manifest, noDelete, "PUT", "/v2/shop/cart/manifests/2.0", equal, false},
		{"new tag in a locked repository", repository, noWrite, "PUT", "/v2/shop/cart/manifests/2.0", equal, true},
		{"new blob in a locked repository", repository, noWrite, "POST", "/v2/shop/cart/blobs/uploads/", "", true},
		{"mount into a locked repository", repository, noWrite, "POST", "/v2/shop/cart/blobs/uploads/?from=shop/cart&mount=" + sha("one"), "", true},
		{"delete in a delete-locked repository", repository, noDelete, "DELETE", "/v2/shop/cart/manifests/" + digest, "", true},
		{"blob of a delete-locked repository", repository, noDelete, "DELETE", "/v2/shop/cart/blobs/" + sha("one"), "", true},
		{"write in a delete-locked repository", repository, noDelete, "PUT", "/v2/shop/cart/manifests/2.0", other, false},
		{"repository with a locked tag", tag, noDelete, "DELETE", repository, "", true},
		{"unreadable tag", tag, `{"readEnabled":false}`, "GET", "/v2/shop/cart/manifests/1.0", "", true},
		{"unreadable repository's blob", repository, `{"readEnabled":false}`, "HEAD", "/v2/shop/cart/blobs/" + sha("one"), "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := startLab(t, sim.RegistryOptions{})
			l.stock()
			l.want(l.as("PATCH", test.locked, header{"Content-Type": "application/json"}, test.lock), 200, "")
			send := func() reply {
				return l.as(test.method, test.path, header{"Content-Type": ociImage}, test.body)
			}
			got := send()
			if !test.refused {
				if got.Status >= 300 {
					t.Errorf("got %d %s", got.Status, got.Body)
				}
				return
			}
			if got.Status != 405 || test.method != "HEAD" && (got.code() != "REGISTRY_DISALLOWED_OPERATION" || !strings.Contains(got.Body, message)) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if l.registry.TagDigest("shop/cart", "1.0") != digest || !slices.Equal(l.registry.Tags("shop/cart"), []string{"1.0"}) {
				t.Error("something changed")
			}
			// A lock can be lifted, and was the only obstacle.
			l.want(l.as("PATCH", test.locked, nil, `{"writeEnabled":true,"deleteEnabled":true,"readEnabled":true}`), 200, "")
			if got := send(); got.Status >= 400 {
				t.Errorf("unlocked: got %d %s", got.Status, got.Body)
			}
		})
	}
}

func TestLocksFromBehind(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	if !l.registry.SetTagLock("shop/cart", "1.0", false, true) || !l.registry.SetManifestLock("shop/cart", digest, true, false) || !l.registry.SetRepositoryLock("shop/cart", true, true) {
		t.Error("something could not be locked")
	}
	if l.registry.SetTagLock("shop/cart", "none", false, false) || l.registry.SetManifestLock("shop/none", digest, false, false) || l.registry.SetRepositoryLock("shop/none", false, false) {
		t.Error("something that is not there was locked")
	}
	if a, ok := l.registry.TagAttributes("shop/cart", "1.0"); !ok || a.Write || !a.Delete {
		t.Errorf("tag %+v", a)
	}
	if a, ok := l.registry.ManifestAttributes("shop/cart", digest); !ok || !a.Write || a.Delete {
		t.Errorf("manifest %+v", a)
	}
	if _, ok := l.registry.TagAttributes("shop/none", "1.0"); ok {
		t.Error("a tag in no repository has attributes")
	}
}

func TestRepositoryDeletion(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	got := l.want(l.as("DELETE", "/acr/v1/shop%2Fcart", nil, ""), 202, "")
	if want := `{"manifestsDeleted":["` + digest + `"],"tagsDeleted":["1.0"]}`; got.Body != want {
		t.Errorf("got %s", got.Body)
	}
	l.want(l.as("GET", "/acr/v1/shop%2Fcart", nil, ""), 404, "NAME_UNKNOWN")
	if len(l.registry.Blobs("shop/cart")) != 0 {
		t.Error("blobs are left")
	}
}

func TestListsInOrderOfTime(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	for _, tag := range []string{"b", "c", "a"} {
		l.registry.Push("shop/cart", tag, ociImage, []byte(image(tag)))
		l.clock.Advance(time.Second)
	}
	for order, want := range map[string]string{"": "a b c", "none": "a b c", "timeasc": "b c a", "timedesc": "a c b"} {
		var names []string
		for _, p := range l.follow("/acr/v1/shop%2Fcart/_tags?n=2&orderby=" + order) {
			for _, part := range strings.Split(p.Body, `"name":"`)[1:] {
				name, _, _ := strings.Cut(part, `"`)
				names = append(names, name)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: got %q, want %q", order, got, want)
		}
	}
}
