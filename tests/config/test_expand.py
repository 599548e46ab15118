"""Variables of the environment in values."""

from __future__ import annotations

from tests.config.folder import BASE, FolderTestCase, based


class ExpandTests(FolderTestCase):
    """``${NAME}`` and its like."""

    def url(self, url: str, **environ: str) -> str:
        """Give what an address becomes."""
        text = BASE.replace("http://127.0.0.1:9000", url)
        return self.load(text, **environ).backends["mock"].base_url

    def test_a_variable_is_replaced(self) -> None:
        """Also several, and with a default where it is not set."""
        self.assertEqual(self.url("http://${H}:${P}", H="host", P="1"), "http://host:1")
        self.assertEqual(self.url("http://${H:-there}"), "http://there")
        self.assertEqual(self.url("http://${H:-there}", H="here"), "http://here")

    def test_a_variable_that_is_not_set_is_a_problem(self) -> None:
        """An empty default is a value, though."""
        self.assertEqual(
            self.problem(BASE.replace("127.0.0.1", "${NOPE}")),
            "config.toml:4: backends.mock.base_url: the environment variable NOPE is not set",
        )
        self.assertEqual(self.url("http://x${NOPE:-}"), "http://x")

    def test_what_a_variable_holds_is_never_syntax(self) -> None:
        """Quotes, line ends and further variables stay what they are."""
        text = BASE.replace('"fast-model"', '"${M}"')
        for value in ('a"\nb = "c', "${M}", "#", "\\n"):
            self.assertEqual(self.load(text, M=value).tiers[0].model, value)

    def test_texts_in_lists_and_tables_are_replaced_too(self) -> None:
        """Everywhere under the gateway and the backends."""
        text = based('cors_origins = ["https://${H}"]').replace(
            "[backends.mock]", '[backends.mock]\nheaders = { X-Team = "${T}" }'
        )
        config = self.load(text, H="h.example", T="team")
        self.assertEqual(config.gateway.cors_origins, ("https://h.example",))
        self.assertEqual(config.backends["mock"].headers, {"X-Team": "team"})

    def test_a_dollar_can_be_written(self) -> None:
        """Doubled before a brace; alone it means nothing."""
        text = BASE.replace('"fast-model"', '"$${M} $M $ ${"')
        self.assertEqual(self.load(text).tiers[0].model, "${M} $M $ ${")

    def test_prompts_are_left_alone(self) -> None:
        """They may be about shell scripts."""
        text = BASE + 'system_prompt = "use ${HOME}"\n'
        self.assertEqual(self.load(text).profiles["default"].system_prompt, "use ${HOME}")

    def test_the_profile_folder_may_be_a_variable(self) -> None:
        """It is read after it is known."""
        self.write("there/p.toml", 'mode = "reply"\n')
        config = self.load(based('profile_dir = "${WHERE}"'), WHERE="there")
        self.assertIn("p", config.profiles)
