# Written by generate.py from boards.yaml.

terraform {
  required_providers {
    honeycombio = {
      source  = "honeycombio/honeycombio"
      version = ">= 0.46"
    }
  }
}

# the API key is HONEYCOMB_API_KEY of the environment; boards and queries must be allowed to it
provider "honeycombio" {}
