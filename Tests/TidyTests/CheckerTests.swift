import Testing

/// The rules on small samples, good and bad.
@Suite struct CheckerTests {
    private func text(_ source: String) -> SwiftText { SwiftText(source) }

    @Test func stringsAndCommentsAreToldFromCode() {
        let text = text(
            ##"""
            let a = "// no comment { \" " // a comment with "quotes" {
            let b = #"raw \" \#(c + "}") "# /* in /* nested */ it */ + d
            let e = """
                func f() {  // TODO
                \(g(h: "}"))
                """
            let i = 1
            """##)
        #expect(text.code[0].hasPrefix("let a = \""))
        #expect(!text.code[0].contains("{") && !text.code[0].contains("//"))
        #expect(text.comments[0].hasSuffix("// a comment with \"quotes\" {"))
        #expect(text.code[1].contains("c +") && text.code[1].contains("+ d"))
        #expect(!text.code[1].contains("}") && !text.code[1].contains("it"))
        #expect(text.comments[1].contains("nested"))
        #expect(!text.code[3].contains("func") && !text.comments[3].contains("TODO"))
        #expect(text.code[4].contains("g(h:") && !text.code[4].contains("}"))
        #expect(text.code[6] == "let i = 1")
        #expect(text.code.count == 7 && text.comments.count == 7)
    }

    @Test func functionsAreMeasuredToTheirClosingBrace() {
        let found = CodeRules.functions(
            text(
                """
                protocol P {
                    func withoutBody(_ a: Int) -> Int
                    init(b: Int)
                    var c: Int { get }
                }
                struct S: P {
                    init(b: Int) { self.init(b: b, d: { $0 }) }
                    func withoutBody(
                        _ a: Int
                    ) -> Int
                    where Self: P {
                        let text = "}"  // }
                        return a
                    }
                    subscript(_ e: Int) -> Int { e }
                    deinit {
                    }
                }
                """))
        #expect(found.map(\.name) == ["init", "func withoutBody", "subscript", "deinit"])
        #expect(found.map(\.line) == [7, 8, 15, 16])
        #expect(found.map(\.lines) == [1, 7, 1, 2])
    }

    @Test func aLongFunctionIsFound() {
        let body = String(repeating: "    a += 1\n", count: 68)
        #expect(CodeRules.longFunctions("F.swift", text("func f() {\n\(body)}\n"), limit: 70).count == 1)
        #expect(CodeRules.longFunctions("F.swift", text("func f() {\n\(body.dropFirst(11))}\n"), limit: 70).isEmpty)
    }

    @Test func dependenciesAreReadFromAManifest() {
        let manifest = Manifest(
            """
            let package = Package(name: "p", dependencies: [.package(url: "https://x", from: "1.0.0")], targets: [
                // .target(name: "Gone"),
                .systemLibrary(name: "CLib", path: "Sources/CLib"),
                room("A", ["CLib"]),
                room("B"),
                tests("ATests", ["A", "B"]),
                .executableTarget(
                    name: "program",
                    dependencies: ["A", .product(name: "Parser", package: "parser")], path: "Programs/p"),
            ])
            """)
        #expect(
            manifest.targets == [
                Manifest.Target(name: "CLib", folder: "Sources/CLib", dependencies: []),
                Manifest.Target(name: "A", folder: "Sources/A", dependencies: ["CLib"]),
                Manifest.Target(name: "B", folder: "Sources/B", dependencies: []),
                Manifest.Target(name: "ATests", folder: "Tests/ATests", dependencies: ["A", "B"]),
                Manifest.Target(name: "program", folder: "Programs/p", dependencies: ["A", "Parser"]),
            ])
    }

    @Test func importsAreComparedWithTheManifest() {
        let imports = ImportRule.imports(
            text(
                """
                import Foundation
                @testable import A
                public import struct B.Thing
                let c = "import D"  // import E
                """))
        #expect(imports == ["A", "B"])
        let target = Manifest.Target(name: "T", folder: "Sources/T", dependencies: ["A", "F"])
        #expect(
            ImportRule.findings(target, imports: imports).map(\.text) == [
                "T declares F and never imports it", "T imports B and does not declare it",
            ])
        #expect(ImportRule.findings(target, imports: ["A", "F"]).isEmpty)
    }

    @Test func openingsOfComments() {
        let found = CommentRules.openings(
            "F.swift",
            text(
                """
                /// What a thing is.
                let a = 1  // Where it is
                /// A thing.
                /// What follows is the second line of a comment, and no opening.
                let b = "/// Who"
                // Whether it opens with a longer word does not matter.
                let c = 1
                /* Whoever */
                """))
        #expect(found.map(\.line) == [1, 2, 8])
    }

    @Test func unitsOfTime() {
        let found = CodeRules.numbersWithoutUnits(
            "F.swift",
            text(
                """
                let timeout: UInt64 = 5
                var retryDelay: Int
                let delayMilliseconds: UInt64 = 5
                let deadline: MonotonicTime
                let delays: [Int] = []
                let text = "var timeout: Int"
                """))
        #expect(found.map(\.line) == [1, 2])
    }

    @Test func reasonsForUncheckedSendable() {
        let bad = "\n\n\n\n\n\n\n\nfinal class A: @unchecked Sendable {}\n"
        #expect(CodeRules.uncheckedWithoutReason("F.swift", text(bad)).count == 1)
        #expect(
            CodeRules.uncheckedWithoutReason(
                "F.swift", text("// Unchecked: a lock guards it.\n" + bad.drop { $0 == "\n" })
            ).isEmpty)
        #expect(CodeRules.uncheckedWithoutReason("F.swift", text("let a = \"@unchecked Sendable\"")).isEmpty)
    }

    @Test func namesAndNotes() {
        let found = CodeRules.names(
            "F.swift",
            text(
                """
                // TODO: later
                enum StringUtils {}
                let note = "TODO"
                struct HelperTests {}
                final class VolumeManager {}
                """))
        #expect(found.map(\.line) == [1, 2, 5])
    }

    @Test func carelessWrites() {
        let text = SwiftText(
            """
            try data.write(to: place, options: .atomic)
            manager.createFile(atPath: path, contents: nil)
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            // try data.write(to: place, options: .atomic)
            """)
        #expect(CodeRules.carelessWrites("A.swift", text).map(\.line) == [1, 2, 3])
    }

    @Test func linksInDocuments() {
        let there: Set<String> = ["Sources/A.md", "Tests/T.swift", "README.md", "Tools/run"]
        let file = Project.File(
            path: "Sources/A.md",
            text: """
                [good](../README.md#a-good-heading) [here](#title) [web](https://example.com/x)
                [bad](B.md)
                [no heading](../README.md#none)
                `Tests/T` `Tools/run --lab` `Tests/None.swift`
                """)
        let found = DocumentRules.deadLinks(file, exists: there.contains) { path in
            DocumentRules.anchors(
                path == "README.md" ? "# Tercet\n## A good heading\n" : "# Title\n```\n# no title\n```\n")
        }
        #expect(found.map(\.line) == [2, 3, 4])
        #expect(DocumentRules.anchors("## `tercetd`, and what it's for\n") == ["tercetd-and-what-its-for"])
    }
}
