package acr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// userSources are the sources of the identity of a user at a prompt, in the order of
// azidentity's DefaultAzureCredential. That credential is not used because it also
// signs in with a user's password, which Entra ID refuses where it demands a second
// factor, and which takes half a megabyte of code.
var userSources = []userSource{
	{name: "EnvironmentCredential", label: "Environment variables (AZURE_*)", group: "prod", open: (*userOptions).environment},
	{name: "WorkloadIdentityCredential", label: "Workload identity", group: "prod", open: (*userOptions).workload},
	{name: "ManagedIdentityCredential", label: "Managed identity", group: "prod", open: (*userOptions).managed},
	{name: "AzureCLICredential", label: "Azure CLI (az)", group: "dev", open: func(o *userOptions) (azcore.TokenCredential, error) {
		c, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{AdditionallyAllowedTenants: o.tenants})
		return tool{c}, err
	}},
	{name: "AzureDeveloperCLICredential", label: "Azure Developer CLI (azd)", group: "dev", open: func(o *userOptions) (azcore.TokenCredential, error) {
		c, err := azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{AdditionallyAllowedTenants: o.tenants})
		return tool{c}, err
	}},
	{name: "AzurePowerShellCredential", label: "Azure PowerShell", group: "dev", open: func(o *userOptions) (azcore.TokenCredential, error) {
		c, err := azidentity.NewAzurePowerShellCredential(&azidentity.AzurePowerShellCredentialOptions{AdditionallyAllowedTenants: o.tenants})
		return tool{c}, err
	}},
}

type userSource struct {
	name, label string
	group       string // dev or prod
	open        func(*userOptions) (azcore.TokenCredential, error)
}

// sourceLabel returns what the source with a name is called in messages; "" if there is
// none.
func sourceLabel(name string) string {
	for _, s := range userSources {
		if s.name == name {
			return s.label
		}
	}
	return ""
}

// userOptions are what the sources are opened with.
type userOptions struct {
	variables map[string]string
	client    azcore.ClientOptions
	metadata  *http.Client
	tenants   []string // that are allowed besides the one in AZURE_TENANT_ID
	only      bool     // one source is selected
	now       time.Time
}

// userCredential returns a credential that tries the sources that the variable
// AZURE_TOKEN_CREDENTIALS selects: all if it is not set, dev, prod, or one by its name.
func userCredential(o userOptions) (azcore.TokenCredential, error) {
	if tenants := o.variables["AZURE_ADDITIONALLY_ALLOWED_TENANTS"]; tenants != "" {
		o.tenants = strings.Split(tenants, ";")
	}
	selection := o.variables["AZURE_TOKEN_CREDENTIALS"]
	var selected []userSource
	for _, s := range userSources {
		if selection == "" || selection == s.group || strings.EqualFold(selection, s.name) {
			selected = append(selected, s)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("the value %q of AZURE_TOKEN_CREDENTIALS is not valid: write dev, prod, or the name of one source, such as AzureCLICredential", selection)
	}
	o.only = len(selected) == 1
	var opened []azcore.TokenCredential
	for _, s := range selected {
		c, err := s.open(&o)
		if err != nil {
			c = unusable{s.name, err}
		}
		opened = append(opened, c)
	}
	return azidentity.NewChainedTokenCredential(opened, nil)
}

func (o *userOptions) environment() (azcore.TokenCredential, error) {
	tenant, client := o.variables["AZURE_TENANT_ID"], o.variables["AZURE_CLIENT_ID"]
	secret, path := o.variables["AZURE_CLIENT_SECRET"], o.variables["AZURE_CLIENT_CERTIFICATE_PATH"]
	switch {
	case tenant == "":
		return nil, errors.New("missing environment variable AZURE_TENANT_ID")
	case client == "":
		return nil, errors.New("missing environment variable AZURE_CLIENT_ID")
	case secret != "":
		return azidentity.NewClientSecretCredential(tenant, client, secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: o.client, DisableInstanceDiscovery: true, AdditionallyAllowedTenants: o.tenants,
		})
	case path == "":
		return nil, errors.New("missing environment variable AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	certificates, key, err := parseCertificate(text, o.now)
	if err != nil {
		return nil, fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %w", err)
	}
	send := o.variables["AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"]
	return azidentity.NewClientCertificateCredential(tenant, client, certificates, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: o.client, DisableInstanceDiscovery: true, AdditionallyAllowedTenants: o.tenants,
		SendCertificateChain: send == "1" || strings.EqualFold(send, "true"),
	})
}

func (o *userOptions) workload() (azcore.TokenCredential, error) {
	return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: o.client, DisableInstanceDiscovery: true, AdditionallyAllowedTenants: o.tenants,
	})
}

func (o *userOptions) managed() (azcore.TokenCredential, error) {
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o.client}
	if id := o.variables["AZURE_CLIENT_ID"]; id != "" {
		options.ID = azidentity.ClientID(id)
	}
	c, err := azidentity.NewManagedIdentityCredential(options)
	elsewhere := o.variables["IDENTITY_ENDPOINT"] != "" || o.variables["MSI_ENDPOINT"] != ""
	if err != nil || o.only || elsewhere {
		return c, err
	}
	return &machine{inner: c, metadata: o.metadata}, nil
}

// unusable stands for a source that cannot be opened.
type unusable struct {
	name string
	err  error
}

func (u unusable) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, azidentity.NewCredentialUnavailableError(u.name + ": " + u.err.Error())
}

// tool is the sign-in of a developer's tool. If it fails, the next source is tried.
type tool struct{ azcore.TokenCredential }

func (t tool) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := t.TokenCredential.GetToken(ctx, o)
	if err != nil {
		err = azidentity.NewCredentialUnavailableError(err.Error())
	}
	return token, err
}

// machine is the managed identity of this machine, if its metadata service responds.
type machine struct {
	inner    azcore.TokenCredential
	metadata *http.Client
	found    atomic.Bool // the metadata service has responded
}

// metadataProbe is how long the metadata service may take to respond, as in
// azidentity. A machine outside Azure has none.
const metadataProbe = time.Second

func (m *machine) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !m.found.Load() {
		probing, cancel := context.WithTimeout(ctx, metadataProbe)
		defer cancel()
		// Without the header Metadata the service responds with an error, and quickly.
		request, err := http.NewRequestWithContext(probing, http.MethodGet, "http://"+MetadataHost+"/metadata/identity/oauth2/token", nil)
		if err != nil {
			return azcore.AccessToken{}, err
		}
		response, err := m.metadata.Do(request)
		if err != nil {
			return azcore.AccessToken{}, azidentity.NewCredentialUnavailableError("ManagedIdentityCredential: the metadata service of this machine does not respond")
		}
		_ = response.Body.Close()
		m.found.Store(true)
	}
	return m.inner.GetToken(ctx, o)
}
