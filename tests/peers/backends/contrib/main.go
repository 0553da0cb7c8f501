// A Collector for docs/how-to/fleet.md (OTLP and Kafka on both sides) and for docs/how-to/backends.md (the exporter
// otlp_http and the extensions that log in). Two of these extensions are in no version that the Go proxy serves with its
// dependencies, so stand-ins have their published fields, and log in nowhere:
//   - azure_auth: extension/azureauthextension/config.schema.yaml of opentelemetry-collector-contrib at 42479a16
//   - google_client_auth: extension/googleclientauthextension/README.md there at 3fc6d133
package main

import (
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/sigv4authextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kafkareceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

type azureAuth struct {
	ManagedIdentity *struct {
		ClientID string `mapstructure:"client_id"`
	} `mapstructure:"managed_identity"`
	WorkloadIdentity *struct {
		ClientID           string `mapstructure:"client_id"`
		TenantID           string `mapstructure:"tenant_id"`
		FederatedTokenFile string `mapstructure:"federated_token_file"`
	} `mapstructure:"workload_identity"`
	ServicePrincipal *struct {
		TenantID              string `mapstructure:"tenant_id"`
		ClientID              string `mapstructure:"client_id"`
		ClientSecret          string `mapstructure:"client_secret"`
		ClientCertificatePath string `mapstructure:"client_certificate_path"`
	} `mapstructure:"service_principal"`
	UseDefault bool     `mapstructure:"use_default"`
	Scopes     []string `mapstructure:"scopes"`
}

func (c *azureAuth) Validate() error {
	if c.ManagedIdentity == nil && c.WorkloadIdentity == nil && c.ServicePrincipal == nil && !c.UseDefault {
		return errors.New("no identity")
	}
	return nil
}

type googleClientAuth struct {
	Project      string   `mapstructure:"project"`
	Scopes       []string `mapstructure:"scopes"`
	QuotaProject string   `mapstructure:"quota_project"`
	TokenType    string   `mapstructure:"token_type"`
	Audience     string   `mapstructure:"audience"`
	TokenHeader  string   `mapstructure:"token_header"`
}

// standIn logs in nowhere: requests leave as they came.
type standIn struct {
	component.StartFunc
	component.ShutdownFunc
}

func (standIn) RoundTripper(base http.RoundTripper) (http.RoundTripper, error) { return base, nil }

func standInFor(name string, config func() component.Config) extension.Factory {
	return extension.NewFactory(component.MustNewType(name), config,
		func(context.Context, extension.Settings, component.Config) (extension.Extension, error) {
			return standIn{}, nil
		},
		component.StabilityLevelDevelopment)
}

func components() (otelcol.Factories, error) {
	receivers, err := otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory(), kafkareceiver.NewFactory())
	if err != nil {
		return otelcol.Factories{}, err
	}
	exporters, err := otelcol.MakeFactoryMap[exporter.Factory](otlphttpexporter.NewFactory(), kafkaexporter.NewFactory())
	if err != nil {
		return otelcol.Factories{}, err
	}
	extensions, err := otelcol.MakeFactoryMap[extension.Factory](sigv4authextension.NewFactory(),
		standInFor("azure_auth", func() component.Config { return &azureAuth{} }),
		standInFor("google_client_auth", func() component.Config { return &googleClientAuth{} }))
	return otelcol.Factories{Receivers: receivers, Exporters: exporters, Extensions: extensions,
		Telemetry: otelconftelemetry.NewFactory()}, err
}

func main() {
	settings := otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "contrib", Version: "0.165.0"},
		Factories: components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory(), envprovider.NewFactory()},
				DefaultScheme:     "env",
			},
		},
	}
	if otelcol.NewCommand(settings).Execute() != nil {
		os.Exit(1) // the command has printed the error
	}
}
