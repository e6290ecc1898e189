# The assignments are compared whole: what is not expected must not be there.

variables {
  key_vaults = {
    shop-kv  = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-kv"
    whole-kv = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/whole-kv"
  }
  refs = {}
}

run "nothing" {
  command = plan
  assert {
    condition     = length(output.assignments) == 0 && length(output.problems) == 0
    error_message = jsonencode(output.assignments)
  }
}

run "each_secret_by_itself_and_a_whole_vault" {
  command = plan
  variables {
    refs = {
      azure = [
        { grant = "a", text = "azure:shop-kv/db-password", path = "shop-kv/db-password" },
        { grant = "b", text = "azure:shop-kv/db-password#user", path = "shop-kv/db-password" },
        { grant = "a", text = "azure:shop-kv.vault.azure.net/tls", path = "shop-kv.vault.azure.net/tls" },
        { grant = "a", text = "azure:whole-kv/**", path = "whole-kv/**" },
        { grant = "a", text = "azure:whole-kv/one", path = "whole-kv/one" },
      ]
      vault = [{ grant = "a", text = "vault:kv/a", path = "kv/a" }]
      other = [{ grant = "a", text = "other:elsewhere/a", path = "elsewhere/a" }]
    }
    stores         = { other = { type = "azure", client_id = "of another identity" } }
    boot_cache_key = "https://shop-kv.vault.azure.net/keys/boot/0123456789abcdef0123456789abcdef"
  }
  assert {
    condition = output.assignments == {
      "shop-kv/db-password" = { role = "Key Vault Secrets User", scope = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-kv/secrets/db-password" }
      "shop-kv/tls"         = { role = "Key Vault Secrets User", scope = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-kv/secrets/tls" }
      "whole-kv/**"         = { role = "Key Vault Secrets User", scope = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/whole-kv" }
      "boot cache"          = { role = "Key Vault Crypto Service Encryption User", scope = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-kv/keys/boot" }
    }
    error_message = jsonencode(output.assignments)
  }
}

run "what_azure_cannot_be_told" {
  command = plan
  variables {
    refs = { azure = [
      { grant = "a", text = "azure:shop-kv/db-*", path = "shop-kv/db-*" },
      { grant = "b", text = "azure:*/db", path = "*/db" },
      { grant = "c", text = "azure:shop-kv", path = "shop-kv" },
      { grant = "d", text = "azure:unheard-kv/db", path = "unheard-kv/db" },
    ] }
    boot_cache_key = "boot"
  }
  assert {
    condition = length(output.assignments) == 0 && output.problems == [
      "grant a: pattern \"azure:shop-kv/db-*\": Azure's roles know a secret or a whole vault, so that this would allow more than it says: name each secret, put those that belong together into a vault of their own, or write azure:shop-kv/**",
      "grant b: pattern \"azure:*/db\": name one vault, as in azure:shop-kv/db-password",
      "grant c: pattern \"azure:shop-kv\": name the secret after its vault, as in azure:shop-kv/db-password",
      "grant d: pattern \"azure:unheard-kv/db\": key_vaults does not say where the vault unheard-kv is: add unheard-kv = \"/subscriptions/…/vaults/unheard-kv\"",
      "boot_cache.key_id is \"boot\": write it as https://shop-kv.vault.azure.net/keys/boot",
    ]
    error_message = join("\n", output.problems)
  }
}

run "an_id_of_another_vault" {
  command = plan
  variables {
    key_vaults = { shop-kv = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/other-kv" }
  }
  expect_failures = [var.key_vaults]
}
