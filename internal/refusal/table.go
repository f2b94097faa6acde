package refusal

// All is the table. Of entries that fit the same response, the first applies.
//
// AADSTS codes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
// Codes of registries: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes.
var All = []Refusal{
	// Azure Container Registry
	{
		Name: "registry-firewall", Service: Registry, Status: []int{403}, Says: []string{"client with ip", "is not allowed access"},
		Cause:  "its firewall blocks this machine",
		Remedy: "Allow {address} under Networking of the registry, or run this on an agent inside its network. If the address is not the agent's, it is that of a proxy or NAT",
	},
	{
		Name: "registry-storage-full", Service: Registry, Status: []int{403, 405, 413, 507}, Says: []string{"storage limit", "storage quota", "storage is full", "maximum storage"},
		Cause:  "the registry's storage is full",
		Remedy: "Delete what is no longer needed (az acr show-usage shows the limit, az acr purge deletes), or move the registry to a larger tier (az acr update --sku)",
	},
	{
		Name: "registry-quarantined", Service: Registry, Says: []string{"quarantine"},
		Cause:  "the image is in quarantine",
		Remedy: "Wait until the registry's scanner releases the image; the role AcrQuarantineWriter permits releasing it by hand",
	},
	{
		Name: "registry-soft-deleted", Service: Registry, Says: []string{"soft delete", "soft-delete"},
		Cause:  "it is soft-deleted: the same digest was deleted there before, and the registry still keeps it",
		Remedy: "It was deleted at {host}, which takes it again only after it has been restored: az acr manifest list-deleted shows it, and az acr manifest restore brings it back",
	},
	{
		Name: "registry-disallowed", Service: Registry, Status: []int{405}, Codes: []string{"REGISTRY_DISALLOWED_OPERATION"},
		Cause:  "the operation is not allowed",
		Remedy: "The image, its tag or the repository is locked, quarantined or out of storage. Look at the locks (az acr repository show; readEnabled: false is a recall) and at the storage in use (az acr show-usage)",
	},
	{
		Name: "registry-method", Service: Registry, Status: []int{405},
		Cause:  "the registry does not know this operation",
		Remedy: "Check that it is a registry of Azure, and what is in front of it",
	},
	{
		Name: "registry-throttled", Service: Registry, Status: []int{429},
		Cause:  "the registry throttles requests",
		Remedy: "Run again later, or with fewer images at once. A larger tier has higher limits",
	},
	{
		Name: "registry-repository-unknown", Service: Registry, Status: []int{404}, Codes: []string{"NAME_UNKNOWN"},
		Cause:  "it does not exist: the registry does not know this repository",
		Remedy: "Check the names of registry and repository; repositories are written in lower case",
	},
	{
		Name: "registry-manifest-unknown", Service: Registry, Status: []int{404}, Codes: []string{"MANIFEST_UNKNOWN", "TAG_UNKNOWN"},
		Cause:  "it does not exist: the repository does not have this tag or digest",
		Remedy: "Check the names of registry, repository and tag. Tags are case-sensitive, and a replica of the registry can lag behind for some seconds",
	},
	{
		Name: "registry-blob-unknown", Service: Registry, Status: []int{404}, Codes: []string{"BLOB_UNKNOWN"},
		Cause:  "it does not exist: a layer that the manifest names is missing",
		Remedy: "The image is damaged: push it again, or repair it from another copy",
	},
	{
		Name: "registry-manifest-incomplete", Service: Registry, Codes: []string{"MANIFEST_BLOB_UNKNOWN"},
		Cause:  "something that the manifest names has not arrived at the registry",
		Remedy: "If {host} has a retention policy for untagged manifests, let it keep them for at least a day (az acr config retention update); otherwise find out what else deletes there. Then run the step again",
	},
	{
		Name: "registry-upload-lost", Service: Registry, Codes: []string{"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"},
		Cause:  "the registry has lost the upload",
		Remedy: "Run this again: the layer is sent from its beginning",
	},
	{
		Name: "registry-manifest-invalid", Service: Registry, Codes: []string{"MANIFEST_INVALID", "MANIFEST_UNVERIFIED"},
		Cause:  "the registry does not accept the manifest",
		Remedy: "Rebuild the image in a current format (OCI, or Docker schema 2)",
	},
	{
		Name: "registry-name-invalid", Service: Registry, Codes: []string{"NAME_INVALID", "TAG_INVALID"},
		Cause:  "the registry does not accept this name",
		Remedy: "Use lower-case letters, digits, and single separators in repositories",
	},
	{
		Name: "registry-digest-invalid", Service: Registry, Codes: []string{"DIGEST_INVALID"},
		Cause:  "the registry received other content than was sent",
		Remedy: "Run this again. If the error persists, something on the network path changes the bytes",
	},
	{
		Name: "registry-too-large", Service: Registry, Status: []int{413},
		Cause:  "the content is too large",
		Remedy: "The registry, or a proxy in front of it, does not accept anything this large",
	},
	{
		Name: "registry-too-large-code", Service: Registry, Codes: []string{"SIZE_INVALID", "BLOB_TOO_LARGE"},
		Cause:  "the registry does not accept content of this size",
		Remedy: "A layer can have up to 200 GiB, a manifest 4 MiB. Split the layer",
	},
	{
		Name: "registry-unsupported", Service: Registry, Codes: []string{"UNSUPPORTED"},
		Cause:  "the registry does not support this operation",
		Remedy: "Check that it is a registry of Azure, and what is in front of it",
	},
	{
		Name: "registry-denied", Service: Registry, Status: []int{401, 403},
		Cause:  "access is denied",
		Remedy: "{grant}",
	},
	{
		Name: "registry-identity-refused", Service: Registry,
		Cause:  "the registry does not accept the identity",
		Remedy: "Check that it belongs to the registry's tenant and has a role there. {grant}",
	},
	{
		Name: "registry-arm-token", Service: Registry,
		Cause:  "the registry does not accept the identity: its token is for Azure Resource Manager, and this registry takes tokens for Azure Container Registry only",
		Remedy: "Sign in for https://containerregistry.azure.net (az login --scope https://containerregistry.azure.net/.default), or use a service connection; az acr config authentication-as-arm show shows the registry's setting",
	},
	{
		Name: "registry-login-refused", Service: Registry,
		Cause:  "the registry does not accept user and password",
		Remedy: "Check user and password of the registry connection, and what they permit. The password of a token can have expired (az acr token credential generate), and a token can be disabled (az acr token show)",
	},
	{
		Name: "registry-unknown", Service: Registry, Status: []int{404},
		Cause:  "it does not exist",
		Remedy: "Check the names of registry, repository and tag, and what is in front of the registry",
	},
	{
		Name: "registry-unavailable", Service: Registry, Status: []int{500, 502, 503, 504},
		Cause:  "the registry is unavailable",
		Remedy: "Run this again later; if the error persists, look at the registry's health in Azure",
	},
	{
		Name: "registry-redirect", Service: Registry, Status: []int{301, 302, 303, 307, 308},
		Cause:  "it redirects to another address, which is not followed",
		Remedy: "Check the registry's name, and what is in front of it",
	},

	// Microsoft Entra ID
	{
		Name: "entra-secret-wrong", Service: Entra, Codes: []string{"AADSTS7000215"},
		Cause:  "the client secret is wrong",
		Remedy: "Enter the connection's client secret again (the secret's value, not its id), or convert the connection to workload identity federation",
	},
	{
		Name: "entra-secret-expired", Service: Entra, Codes: []string{"AADSTS7000222"},
		Cause:  "the client secret has expired",
		Remedy: "Renew the connection's client secret, or convert the connection to workload identity federation",
	},
	{
		Name: "entra-credential-missing", Service: Entra, Codes: []string{"AADSTS7000216", "AADSTS7000218"},
		Cause:  "the request had no credential",
		Remedy: "Save the service connection again: it has neither secret nor federation",
	},
	{
		Name: "entra-certificate", Service: Entra, Codes: []string{"AADSTS700027", "AADSTS700030"},
		Cause:  "the certificate is not one of the application's, or has expired",
		Remedy: "Upload the connection's certificate to the app registration, or renew both, or convert the connection to workload identity federation",
	},
	{
		Name: "entra-federation-subject", Service: Entra, Codes: []string{"AADSTS700213"},
		Cause:  "no federated credential of the application matches this service connection: none has the subject {subject}",
		Remedy: "Compare issuer and subject on the service connection's page with the federated credentials of the app registration or managed identity: one of them must have exactly this subject. Renaming organization, project or connection changes it",
	},
	{
		Name: "entra-federation-issuer", Service: Entra, Codes: []string{"AADSTS700211"},
		Cause:  "no federated credential of the application matches this service connection: none has the issuer {issuer}",
		Remedy: "Compare issuer and subject on the service connection's page with the federated credentials of the app registration or managed identity: one of them must have exactly this issuer",
	},
	{
		Name: "entra-federation-audience", Service: Entra, Codes: []string{"AADSTS700212"},
		Cause:  "no federated credential of the application matches this service connection: none has the audience {audience}",
		Remedy: "Set the audience of the federated credential to api://AzureADTokenExchange",
	},
	{
		Name: "entra-federation-mismatch", Service: Entra, Codes: []string{"AADSTS70021", "AADSTS7002138", "AADSTS700223"},
		Cause:  "no federated credential of the application matches this service connection",
		Remedy: "Compare issuer and subject on the service connection's page with the federated credentials of the app registration or managed identity",
	},
	{
		Name: "entra-federation-expired", Service: Entra, Codes: []string{"AADSTS700024"},
		Cause:  "the assertion of Azure DevOps is not valid at this time",
		Remedy: "Run this again. If the error persists, the clocks of Azure DevOps (on a server: of its machine) and of Microsoft Entra ID differ",
	},
	{
		Name: "entra-federation-keys", Service: Entra, Codes: []string{"AADSTS50166"},
		Cause:  "Microsoft Entra ID cannot read the keys of the issuer of the assertion",
		Remedy: "Run this again later. For an Azure DevOps Server that Entra cannot reach, use a client secret or a certificate",
	},
	{
		Name: "entra-assertion-invalid", Service: Entra, Codes: []string{"AADSTS50013", "AADSTS50027", "AADSTS500571"},
		Cause:  "the assertion is malformed, or its signature is not valid",
		Remedy: "Run this again. If the error persists, something between the agent and Azure DevOps changes its responses",
	},
	{
		Name: "entra-application-unknown", Service: Entra, Codes: []string{"AADSTS700016"},
		Cause:  "the application is not known in the tenant",
		Remedy: "Check the connection's client id and tenant: the application may be in another tenant",
	},
	{
		Name: "entra-principal-missing", Service: Entra, Codes: []string{"AADSTS7000229"},
		Cause:  "the application has no service principal in the tenant",
		Remedy: "Create it: az ad sp create --id <client-id>",
	},
	{
		Name: "entra-application-disabled", Service: Entra, Codes: []string{"AADSTS7000112"},
		Cause:  "the application is disabled",
		Remedy: "Ask the tenant's administrators to enable its enterprise application, or use another service connection",
	},
	{
		Name: "entra-tenant-unknown", Service: Entra, Codes: []string{"AADSTS90002"},
		Cause:  "the tenant does not exist",
		Remedy: "Check the connection's tenant id, and that the connection is of the tenant's cloud",
	},
	{
		Name: "entra-tenant-invalid", Service: Entra, Codes: []string{"AADSTS900023"},
		Cause:  "the connection's tenant id is not valid",
		Remedy: "Check the connection's tenant id: it is a GUID or a verified domain",
	},
	{
		Name: "entra-wrong-cloud", Service: Entra, Codes: []string{"AADSTS900382", "AADSTS900432"},
		Cause:  "the tenant belongs to another cloud",
		Remedy: "Create the service connection with the environment of the tenant's cloud (AzureCloud, AzureChinaCloud, AzureUSGovernment)",
	},
	{
		Name: "entra-resource-unknown", Service: Entra, Codes: []string{"AADSTS500011", "AADSTS650057"},
		Cause:  "the tenant does not know Azure Container Registry as a resource",
		Remedy: "Register the resource provider Microsoft.ContainerRegistry in a subscription of the tenant",
	},
	{
		Name: "entra-not-assigned", Service: Entra, Codes: []string{"AADSTS50105"},
		Cause:  "the enterprise application requires assignment, and this identity is not assigned",
		Remedy: "Assign the identity to the enterprise application, or turn off “Assignment required”",
	},
	{
		Name: "entra-conditional-access", Service: Entra, Codes: []string{"AADSTS53003", "AADSTS530003", "AADSTS53000", "AADSTS53001"},
		Cause:  "a Conditional Access policy forbids it",
		Remedy: "Change the policy so that it allows this workload identity from the agent's location; the sign-in logs of Microsoft Entra ID name the policy",
	},
	{
		Name: "entra-interaction-needed", Service: Entra, Codes: []string{"AADSTS50076", "AADSTS50079", "AADSTS50158"},
		Cause:  "a second factor is required, for which a person has to sign in",
		Remedy: "At a prompt, sign in again (az login --scope https://containerregistry.azure.net/.default). In a pipeline, use a service connection of a workload identity",
	},
	{
		Name: "entra-sign-in-expired", Service: Entra, Codes: []string{"AADSTS50173", "AADSTS70043", "AADSTS700082", "AADSTS50078"},
		Cause:  "the sign-in has expired",
		Remedy: "Sign in again (az login)",
	},
	{
		Name: "entra-user-foreign", Service: Entra, Codes: []string{"AADSTS50020"},
		Cause:  "the user is not known in the tenant",
		Remedy: "Sign in to the tenant of the registry (az login --tenant <tenant>)",
	},
	{
		Name: "entra-user-disabled", Service: Entra, Codes: []string{"AADSTS50057"},
		Cause:  "the account is disabled",
		Remedy: "Ask the tenant's administrators to enable the account, or use another one",
	},
	{
		Name: "entra-throttled", Service: Entra, Status: []int{429},
		Cause:  "Microsoft Entra ID throttles requests",
		Remedy: "Run it again later",
	},
	{
		Name: "entra-unavailable", Service: Entra, Status: []int{500, 502, 503, 504},
		Cause:  "Microsoft Entra ID is unavailable",
		Remedy: "Run it again later",
	},
	{
		Name: "entra-redirect", Service: Entra, Status: []int{301, 302, 303, 307, 308},
		Cause:  "it redirects to another address, which is not followed",
		Remedy: "Check what is in front of it",
	},
	{
		Name: "entra-refused", Service: Entra, Status: []int{400, 401, 403},
		Cause:  "the identity is refused",
		Remedy: "Check the connection's tenant, client id and credential",
	},

	// Azure DevOps
	{
		Name: "devops-connection-not-referenced", Service: DevOps, Says: []string{"no explicit reference", "is not referenced by this"},
		Cause:  "Azure DevOps does not give it: this job does not reference the connection",
		Remedy: "An input of this step must name the connection itself, not only a variable of a later step, and the pipeline must be permitted to use it",
	},
	{
		Name: "devops-assertion-refused", Service: DevOps,
		Cause:  "Azure DevOps does not give it",
		Remedy: "An input of this step must name the connection, the pipeline must be permitted to use it, and it must use workload identity federation",
	},
	{
		Name: "devops-conditional-access", Service: DevOps, Codes: []string{"VS403463"},
		Cause:  "does not return {what}: a Conditional Access policy forbids it",
		Remedy: "Ask the organization's administrators to allow the agent's address (Organization settings, Policies)",
	},
	{
		Name: "devops-throttled", Service: DevOps, Status: []int{429},
		Cause:  "is throttling requests and did not return {what}",
		Remedy: "Run the step again in a few minutes",
	},
	{
		Name: "devops-blocked", Service: DevOps, Codes: []string{"TF400733"},
		Cause:  "has blocked the request for {what}, because the organization exceeds its usage limits",
		Remedy: "Run the step again in a few minutes; Organization settings, Usage, shows who exceeds the limits",
	},
	{
		Name: "devops-project-unknown", Service: DevOps, Codes: []string{"TF200016", "VS800075"},
		Cause:  "does not know the project of {what}, or does not show it to the job's identity",
		Remedy: "{grant} To read another project, turn off “Limit job authorization scope to current project”",
	},
	{
		Name: "devops-repository-unknown", Service: DevOps, Codes: []string{"TF401019"},
		Cause:  "does not know the repository of {what}, or does not show it to the job's identity",
		Remedy: "Name the repository under resources and uses of the pipeline. {grant}",
	},
	{
		Name: "devops-permission", Service: DevOps, Codes: []string{"TF50309", "TF215106", "TF401027"},
		Cause:  "denies the job's identity the right to read {what}: the message names the permission",
		Remedy: "{grant}",
	},
	{
		Name: "devops-identity-refused", Service: DevOps, Status: []int{401, 403}, Codes: []string{"TF400813"},
		Cause:  "denies the job's identity the right to read {what}: it does not know the identity there",
		Remedy: "{grant} The job's token ends with the job: run the step in the job that it belongs to",
	},
	{
		Name: "devops-denied", Service: DevOps, Status: []int{401, 403},
		Cause:  "denies the job's identity the right to read {what}",
		Remedy: "{grant}",
	},
	{
		Name: "devops-sign-in", Service: DevOps, Status: []int{200, 203, 301, 302, 303, 307, 308},
		Cause:  "returned a sign-in page, or a redirect to one, for {what}",
		Remedy: "The job's token was not accepted: run the step in the job that the token belongs to. {grant}",
	},
	{
		Name: "devops-unknown", Service: DevOps, Status: []int{404},
		Cause:  "did not find {what}",
		Remedy: "Azure DevOps also returns this status if access is denied. {grant}",
	},
	{
		Name: "devops-unavailable", Service: DevOps, Status: []int{500, 502, 503, 504},
		Cause:  "failed while reading {what}",
		Remedy: "Run the step again once Azure DevOps responds; status.dev.azure.com shows its status",
	},

	// Azure Key Vault: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
	{
		Name: "vault-tenant", Service: KeyVault, Status: []int{401}, Says: []string{"akv10032"},
		Cause:  "the identity belongs to another tenant than the vault",
		Remedy: "Use a service connection of the vault's tenant in receiptConnection",
	},
	{
		Name: "vault-token", Service: KeyVault, Status: []int{401},
		Cause:  "the vault does not accept the identity's token",
		Remedy: "Check that the connection's identity belongs to the vault's tenant and cloud",
	},
	{
		Name: "vault-firewall", Service: KeyVault, Status: []int{403}, Codes: []string{"ForbiddenByFirewall"},
		Cause:  "the vault's firewall does not admit {address}",
		Remedy: "Allow it under Networking of the vault, or run the job on an agent in a network that the vault admits",
	},
	{
		Name: "vault-private", Service: KeyVault, Status: []int{403}, Codes: []string{"ForbiddenByConnection"},
		Cause:  "the vault is reachable only over its private endpoint",
		Remedy: "Run the job on an agent in a network where {vault} resolves to the private endpoint",
	},
	{
		Name: "vault-key-disabled", Service: KeyVault, Status: []int{403}, Codes: []string{"KeyDisabled"},
		Cause:  "the key is disabled",
		Remedy: "Enable this version of the key, or name another key or version",
	},
	{
		Name: "vault-key-expired", Service: KeyVault, Status: []int{403}, Codes: []string{"KeyExpired"},
		Cause:  "the key has expired",
		Remedy: "Rotate the key, or extend this version's expiration date",
	},
	{
		Name: "vault-key-not-yet-valid", Service: KeyVault, Status: []int{403}, Codes: []string{"KeyNotYetValid"},
		Cause:  "the key is not valid yet",
		Remedy: "Change this version's activation date, or name another version",
	},
	{
		Name: "vault-key-operation", Service: KeyVault, Status: []int{403}, Codes: []string{"KeyOperationForbidden"},
		Cause:  "the key does not permit signing",
		Remedy: "Add sign to its permitted operations, or use another key",
	},
	{
		Name: "vault-key-permission", Service: KeyVault, Status: []int{403}, Says: []string{"not permitted on this key"},
		Cause:  "the key does not permit signing",
		Remedy: "Add sign to its permitted operations, or use another key",
	},
	{
		Name: "vault-denied", Service: KeyVault, Status: []int{403},
		Cause:  "access is denied",
		Remedy: "{grant}",
	},
	{
		Name: "vault-key-unknown", Service: KeyVault, Status: []int{404},
		Cause:  "the vault has no key {key}",
		Remedy: "Correct its name or version; a deleted key can be recovered for some time (az keyvault key list-deleted --vault-name {name})",
	},
	{
		Name: "vault-throttled", Service: KeyVault, Status: []int{429},
		Cause:  "the vault limits requests",
		Remedy: "Run it again later. The limit is shared by everything that uses the vault; EC keys have the highest",
	},
	{
		Name: "vault-redirect", Service: KeyVault, Status: []int{301, 302, 303, 307, 308},
		Cause:  "it redirects to another address, which is not followed",
		Remedy: "Check the vault's name, and what is in front of it",
	},
	{
		Name: "vault-unavailable", Service: KeyVault, Status: []int{500, 502, 503, 504},
		Cause:  "the vault is unavailable",
		Remedy: "Run it again later",
	},
}
