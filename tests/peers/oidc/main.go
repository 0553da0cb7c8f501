// Command dex runs Dex's server with users and clients of a JSON file, everything in memory: dex FILE. It is Dex's own command without
// its gRPC API, whose module is published apart and lags behind.
package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/AppsFlyer/go-sundheit"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/server/authflow"
	"github.com/dexidp/dex/server/connectors"
	"github.com/dexidp/dex/server/signer"
	"github.com/dexidp/dex/server/tokens"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
)

type settings struct {
	Issuer       string
	Listen       string
	TokenSeconds int
	Password     string
	Users        map[string][]string
	Clients      []storage.Client
}

func main() {
	if err := run(os.Args[1]); err != nil {
		slog.Error("dex", "error", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var set settings
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(set.Password), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	verified := true
	var passwords []storage.Password
	for name, groups := range set.Users {
		passwords = append(passwords, storage.Password{
			Email: name + "@example.com", Hash: hash, Username: name, UserID: name, EmailVerified: &verified, Groups: groups,
		})
	}
	store := storage.WithStaticClients(memory.New(logger), set.Clients)
	store = storage.WithStaticPasswords(store, passwords, logger)
	local := storage.Connector{ID: connectors.LocalConnector, Name: "Email", Type: connectors.LocalConnector}
	store = storage.WithStaticConnectors(store, []storage.Connector{local})
	valid := time.Duration(set.TokenSeconds) * time.Second
	keys, err := (&signer.LocalConfig{KeysRotationPeriod: "6h"}).Open(context.Background(), store, valid, time.Now, logger)
	if err != nil {
		return err
	}
	refresh, err := tokens.NewRefreshTokenPolicy(logger, false, "", "", "")
	if err != nil {
		return err
	}
	dex, err := server.NewServer(context.Background(), server.Config{
		Issuer:             set.Issuer,
		Storage:            store,
		SkipApprovalScreen: true,
		PasswordConnector:  connectors.LocalConnector,
		PKCE:               authflow.PKCEConfig{CodeChallengeMethodsSupported: []string{"S256"}},
		IDTokensValidFor:   valid,
		RefreshTokenPolicy: refresh,
		Signer:             keys,
		Now:                time.Now,
		Logger:             logger,
		PrometheusRegistry: prometheus.NewRegistry(),
		HealthChecker:      gosundheit.New(),
	})
	if err != nil {
		return err
	}
	return http.ListenAndServe(set.Listen, dex)
}
