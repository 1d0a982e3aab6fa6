//! Finds the calls of `confide` and `confide-dev` in a line of shell: enough of the shell's grammar for a manual.

/// The words of every call, each with the program's name first.
pub(crate) fn confide_calls(line: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    let mut reader = Reader { letters: line.chars().collect(), at: 0, calls: &mut calls };
    reader.script('\0');
    calls
}

struct Reader<'a> {
    letters: Vec<char>,
    at: usize,
    calls: &'a mut Vec<Vec<String>>,
}

impl Reader<'_> {
    /// Reads simple commands up to `end`.
    fn script(&mut self, end: char) {
        let mut words: Vec<String> = Vec::new();
        let mut word: Option<String> = None;
        while let Some(letter) = self.next() {
            match letter {
                _ if letter == end => break,
                '#' if word.is_none() => {
                    while self.peek().is_some_and(|letter| letter != '\n') {
                        self.at += 1
                    }
                }
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(letter) => word.get_or_insert_default().push(letter),
                },
                '\'' => {
                    let word = word.get_or_insert_default();
                    while let Some(letter) = self.next().filter(|letter| *letter != '\'') {
                        word.push(letter);
                    }
                }
                '"' => {
                    let mut text = word.take().unwrap_or_default();
                    self.quoted(&mut text);
                    word = Some(text);
                }
                '$' if self.peek() == Some('(') => {
                    self.at += 1;
                    self.script(')');
                    word.get_or_insert_default().push_str("SUBSTITUTED");
                }
                '<' if self.placeholder().is_some() => {
                    let name = self.placeholder().unwrap_or_default();
                    self.at += name.chars().count() - 1;
                    word.get_or_insert_default().push_str(&name);
                }
                '<' | '>' => {
                    // A redirection and its file are no words; `2>` leaves its number behind.
                    if word.as_deref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
                        word = None;
                    }
                    self.finish(&mut word, &mut words);
                    self.skip_redirection();
                }
                ' ' | '\t' => self.finish(&mut word, &mut words),
                '|' | '&' | ';' | '\n' | '(' | ')' | '{' | '}' if word.is_none() || !"{}".contains(letter) => {
                    self.finish(&mut word, &mut words);
                    self.call(&mut words);
                }
                letter => word.get_or_insert_default().push(letter),
            }
        }
        self.finish(&mut word, &mut words);
        self.call(&mut words);
    }

    fn quoted(&mut self, text: &mut String) {
        while let Some(letter) = self.next() {
            match letter {
                '"' => return,
                '\\' => text.extend(self.next()),
                '$' if self.peek() == Some('(') => {
                    self.at += 1;
                    self.script(')');
                    text.push_str("SUBSTITUTED");
                }
                letter => text.push(letter),
            }
        }
    }

    /// `<NAME>` after its first letter was read.
    fn placeholder(&self) -> Option<String> {
        let rest: String = self.letters.iter().skip(self.at).take_while(|letter| **letter != '>').collect();
        let sound =
            !rest.is_empty() && rest.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_:".contains(letter));
        let closed = self.letters.get(self.at + rest.chars().count()) == Some(&'>');
        (sound && closed).then(|| format!("<{rest}>"))
    }

    fn skip_redirection(&mut self) {
        while self.peek().is_some_and(|letter| "<>&".contains(letter)) {
            self.at += 1;
        }
        while self.peek() == Some(' ') {
            self.at += 1;
        }
        while self.peek().is_some_and(|letter| !" \t\n|;&)".contains(letter)) {
            self.at += 1;
        }
    }

    fn finish(&mut self, word: &mut Option<String>, words: &mut Vec<String>) {
        words.extend(word.take());
    }

    fn call(&mut self, words: &mut Vec<String>) {
        let words = std::mem::take(words);
        let lead = |word: &&String| {
            ["sudo", "!", "time", "do", "then", "else", "if", "while", "until"].contains(&word.as_str())
                || word
                    .split_once('=')
                    .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        };
        let skipped = words.iter().take_while(lead).count();
        let call: Vec<String> = words.into_iter().skip(skipped).collect();
        let name = call.first().and_then(|first| first.rsplit('/').next());
        if matches!(name, Some("confide" | "confide-dev")) {
            self.calls.push(call);
        }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += 1;
        letter
    }

    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }
}

#[test]
fn calls_are_found_in_shell() {
    let found = |line: &str| confide_calls(line).into_iter().map(|words| words.join("·")).collect::<Vec<_>>();
    assert_eq!(
        found("confide build w.yml -o out && confide-dev down"),
        ["confide·build·w.yml·-o·out", "confide-dev·down"]
    );
    assert_eq!(
        found("head -c 32 /dev/urandom | confide secret put a/b/c --file -"),
        ["confide·secret·put·a/b/c·--file·-"]
    );
    assert_eq!(found("confide doctor 2>/dev/null || true"), ["confide·doctor"]);
    assert_eq!(
        found("X=1 sudo target/release/confide up 'my file.yml' # why"),
        ["target/release/confide·up·my file.yml"]
    );
    assert_eq!(found("n=\"$(confide audit show --json)\"; echo $n"), ["confide·audit·show·--json"]);
    assert_eq!(found("confide launch <DIR> >log &"), ["confide·launch·<DIR>"]);
    assert_eq!(found("confide build \\\nw.yml"), ["confide·build·w.yml"]);
    assert_eq!(found("echo confide; ls"), Vec::<String>::new());
}
