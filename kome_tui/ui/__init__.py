"""The console's screen: Textual and nothing but showing. Decisions about what to say are in
present/, which knows no Textual; decisions about the fleet are below ui."""
